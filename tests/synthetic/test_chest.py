import numpy as np
import pytest

from lmk3d.synthetic import CHEST_CONTOURS, film_phantom
from lmk3d.synthetic.chest import evenly


@pytest.fixture(scope="module")
def film():
    return film_phantom(4, kind="chest", side_px=720)


def test_contours_have_as_many_points_as_the_annotated_films(film):
    assert {name: len(rows) for name, rows in film.contours.items()} == CHEST_CONTOURS
    assert sum(CHEST_CONTOURS.values()) == len(film.landmarks) == 166
    assert film.landmarks.names[44] == "left_lung_00"


def test_masks_fill_their_contours(film):
    for name, rows in film.contours.items():
        x, y = -film.landmarks.points_mm[list(rows), :2].T
        area_mm2 = abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
        # A polygon through some points of a bow cuts it; a thin clavicle loses most.
        least = 0.85 if "clavicle" in name else 0.97
        assert least < area_mm2 / (film.masks[name].sum() * 0.25) < 1.03
    right, left = (film.landmarks.points_mm[list(film.contours[f"{side}_lung"]), 0] for side in ("right", "left"))
    assert right.mean() > left.mean()  # the patient's right lies to his right


def test_lungs_are_dark_and_the_heart_and_the_clavicles_bright(film):
    data = film.volume.data.astype(float)
    alone = film.masks["right_lung"] & ~film.masks["heart"] & ~film.masks["right_clavicle"]
    over = film.masks["right_lung"] & film.masks["right_clavicle"]
    assert data[alone].mean() < data[film.masks["heart"]].mean() - 60
    assert data[alone].mean() < data[over].mean() - 20


def test_points_are_evenly_spaced_along_an_outline():
    square = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    np.testing.assert_allclose(evenly(square, 8), [[0, 0], [2, 0], [4, 0], [4, 2], [4, 4], [2, 4], [0, 4], [0, 2]])
