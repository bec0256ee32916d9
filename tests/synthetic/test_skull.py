import numpy as np
import pytest

from lmk3d.synthetic import SKULL_LANDMARKS, film_phantom


@pytest.fixture(scope="module")
def heads():
    return [film_phantom(seed, side_px=480) for seed in range(4)]


def around(film, name, reach=2):
    """What is stored round a point."""
    row, column, _ = film.volume.grid.to_vox(film.landmarks[name])[0].round().astype(int)
    return film.volume.data[row - reach : row + reach + 1, column - reach : column + reach + 1, 0].astype(float)


def test_points_lie_where_anatomy_puts_them(heads):
    for film in heads:
        x, y = -film.landmarks.points_mm[:, :2].T
        place = {name: (x[row], y[row]) for row, name in enumerate(SKULL_LANDMARKS)}
        assert place["nasion"][0] - place["sella"][0] > 50
        assert place["porion"][0] < place["articulare"][0] + 15
        assert place["articulare"][1] < place["gonion"][1] < place["menton"][1]
        assert place["posterior_nasal_spine"][0] < place["anterior_nasal_spine"][0]
        assert place["upper_lip"][0] > place["upper_incisal_incision"][0]
        assert place["gnathion"][0] < place["pogonion"][0] + 4
        assert place["soft_tissue_pogonion"][0] > place["pogonion"][0]


def test_points_on_outlines_lie_on_bright_lines_or_edges(heads):
    for film in heads:
        data = film.volume.data.astype(float)
        for name in ("articulare", "gonion", "menton", "pogonion", "orbitale"):
            assert around(film, name, 1).mean() > around(film, name, 8).mean()
        for name in (
            "subnasale",
            "upper_lip",
            "lower_lip",
            "soft_tissue_pogonion",
        ):  # air on one side, skin on the other
            assert np.ptp(around(film, name, 6)) > 0.12 * data.max()


def test_subjects_differ_by_more_than_their_pose(heads):
    shapes = [film.landmarks.points_mm - film.landmarks["sella"] for film in heads]
    lengths = [np.linalg.norm(shape[SKULL_LANDMARKS.index("gonion")]) for shape in shapes]
    assert np.ptp(lengths) > 1.0
