"""Pictures of a registration."""

import numpy as np
import pytest

from lmk3d.plots.overlays import Overlay, checkerboard, point_overlay


@pytest.fixture
def overlay(volume):
    fixed = volume.grid.center_mm + np.array([[0, 0, 0], [8, -5, 3], [-9, 6, -4], [4, 9, 7.0]])
    moved = fixed + np.array([[0, 0, 0], [0.2, 0, 0], [0, 6, 0], [0, 0, 0.1]])
    return Overlay(
        ("apex", "ostium", "fork", "tip"), fixed, moved, np.array([True, True, False, True]), "rigid, 4 pairs"
    )


def flattened(overlay, film):
    places = film.grid.to_mm(np.array([[20, 30, 0], [80, 40, 0], [60, 70, 0], [30, 60, 0]]))
    return Overlay(overlay.names, places, places + np.array([1, 1, 0]), overlay.used, overlay.title, "px")


def test_points_alone_are_shown_from_three_sides_with_names_and_distances(overlay, words, assert_legible):
    figure = point_overlay(overlay, flat=False)
    said = words(figure)
    assert all(part in said for part in ("axial", "coronal", "sagittal", "apex", "fork", "6.00 mm", "fixed", "moved"))
    assert len(figure.axes[0].patches) == 3 * (4 + 1) + 1  # rings and frames of each side, and the legend's ring


def test_a_films_points_are_shown_from_one_side(overlay, film, words):
    said = words(point_overlay(flattened(overlay, film), flat=True))
    assert "coronal" not in said
    assert "1.41 px" in said


def test_a_checkerboard_takes_squares_from_either_image(overlay, film, words):
    from lmk3d.geometry import Volume

    dark = Volume(np.zeros_like(film.data), film.grid, "px")
    figure = checkerboard(flattened(overlay, film), film, dark)
    images = figure.axes[0].images
    assert len(images) == 3
    squares = np.asarray(images[2].get_array())
    rows, columns = squares.shape
    step = int(max(rows, columns) / 8)
    assert squares[: step - 1, : step - 1].std() > 0  # the film's noise
    assert (squares[: step - 1, step + 1 : 2 * step - 1] == 0).all()  # the other one is black
    assert "chequered" in words(figure)


def test_a_volume_is_cut_three_times(overlay, volume, words):
    figure = checkerboard(overlay, volume, volume)
    assert len(figure.axes[0].images) == 9
    assert "points near each plane" in words(figure)
