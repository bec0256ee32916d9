import numpy as np
import pytest

from lmk3d.synthetic import SPINE_LANDMARKS, VERTEBRAE, film_phantom


def corners_mm(film):
    """(17, 4, 2) x to the right and y down, of top left, top right, bottom left, bottom right."""
    return -film.landmarks.points_mm[:, :2].reshape(17, 4, 2)


def tilts_deg(film, first, second):
    side = corners_mm(film)[:, second] - corners_mm(film)[:, first]
    return np.degrees(np.arctan2(side[:, 1], side[:, 0]))


@pytest.mark.parametrize("angles", [(0, 0, 0), (10, 45, 30), (22.5, 61, 0)])
def test_the_chosen_cobb_angles_lie_between_the_plates(angles):
    film = film_phantom(7, kind="spine", side_px=64, scoliosis_deg=angles)
    upper, lower = tilts_deg(film, 0, 1), tilts_deg(film, 2, 3)
    np.testing.assert_allclose(upper, lower, atol=1e-9)
    keys = upper[[VERTEBRAE.index(name) for name in ("T1", "T5", "T12", "L4")]]
    np.testing.assert_allclose(np.abs(np.diff(keys)), angles, atol=1e-9)
    # No pair of vertebrae in one of the bends leans further apart than its Cobb angle.
    assert np.ptp(upper[:5]) <= angles[0] + 1e-9
    assert np.ptp(upper[4:12]) <= angles[1] + 1e-9


def test_vertebrae_follow_one_another_without_touching():
    for seed in range(8):
        quads = corners_mm(film_phantom(seed, kind="spine", side_px=64))
        assert (quads[1:, :2, 1].mean(1) > quads[:-1, 2:, 1].mean(1)).all()
        assert (quads[:, 1, 0] - quads[:, 0, 0] > 20).all()


def test_masks_are_the_quadrilaterals_of_the_corners():
    film = film_phantom(2, kind="spine", side_px=640, scoliosis_deg=(5, 20, 10))
    assert tuple(film.masks) == tuple(film.contours) == VERTEBRAE
    for name, rows in film.contours.items():
        x, y = -film.landmarks.points_mm[list(rows), :2].T
        area = abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
        assert film.masks[name].sum() == pytest.approx(area, rel=0.03)  # pixels of a square millimetre
    assert [SPINE_LANDMARKS[row] for row in film.contours["T2"]] == [
        f"V02_{corner}" for corner in ("top_left", "top_right", "bottom_right", "bottom_left")
    ]


def test_other_angles_are_refused():
    with pytest.raises(ValueError, match=r"scoliosis_deg must be three angles from 0 to 90, got \(1, 2\)"):
        film_phantom(1, kind="spine", side_px=64, scoliosis_deg=(1, 2))
