"""An oblique scan, a film, and what makes a picture readable."""

import itertools

import numpy as np
import pytest

from lmk3d.geometry import Grid, Volume, random_rotation

FILM_AFFINE = np.array([[0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.fixture(scope="session")
def volume():
    grid = Grid.around((10, -20, 300), (40, 30, 20), (1, 1, 2), random_rotation(np.random.default_rng(0)))
    return Volume(np.arange(grid.shape[0] * 600).reshape(grid.shape).astype(np.int16), grid)


@pytest.fixture(scope="session")
def film():
    data = np.random.default_rng(1).integers(0, 255, (120, 90, 1)).astype(np.uint8)
    return Volume(data, Grid(data.shape, FILM_AFFINE), "px")


def texts(figure):
    return [text for text in figure.axes[0].texts if text.get_text()]


@pytest.fixture
def words():
    """All that stands on a picture."""
    return lambda figure: " | ".join(text.get_text() for text in texts(figure))


@pytest.fixture
def assert_legible():
    """Every text lies on the sheet and none on another."""

    def check(figure):
        renderer = figure.canvas.get_renderer()
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure)]
        for text, box in boxes:
            room = min(box.x0, box.y0, figure.bbox.x1 - box.x1, figure.bbox.y1 - box.y1)
            assert room >= 0, f"{text!r} leaves the sheet"
        for (one, first), (other, second) in itertools.combinations(boxes, 2):
            assert not first.overlaps(second), f"{one!r} lies on {other!r}"

    return check
