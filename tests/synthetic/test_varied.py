import numpy as np
import pytest

from lmk3d.synthetic import AORTIC_LANDMARKS, CARDIAC_LANDMARKS, VIEWS, varied_phantom

NAMES = CARDIAC_LANDMARKS + AORTIC_LANDMARKS
SILENT = ("unenhanced", "misplaced", "revalued", "shuffled", "object")


@pytest.mark.parametrize("view", VIEWS)
def test_a_seed_draws_the_same_scan(view):
    one, two = (varied_phantom(11, view=view, spacing_mm=6.0) for _ in range(2))
    np.testing.assert_array_equal(one.volume.data, two.volume.data)
    np.testing.assert_array_equal(one.landmarks.points_mm, two.landmarks.points_mm)
    other = varied_phantom(12, view=view, spacing_mm=6.0)
    assert other.volume.data.shape != one.volume.data.shape or (other.volume.data != one.volume.data).mean() > 0.3


@pytest.mark.parametrize("view", ["heart", "chest", "aorta", "abdomen", "body"])
def test_landmarks_within_the_volume_are_present_and_the_others_missing(view):
    shown = 0
    for seed in range(5):
        phantom = varied_phantom(seed, view=view, spacing_mm=8.0)
        inside = phantom.volume.grid.contains(phantom.all_landmarks.points_mm)
        assert phantom.landmarks.names == NAMES
        np.testing.assert_array_equal(phantom.landmarks.present, inside)
        np.testing.assert_array_equal(phantom.landmarks.points_mm[inside], phantom.all_landmarks.points_mm[inside])
        shown += inside.sum()
    assert shown > 12


@pytest.mark.parametrize("view", SILENT)
def test_what_shows_no_landmark_has_none(view):
    for seed in range(3):
        phantom = varied_phantom(seed, view=view, spacing_mm=8.0)
        assert not phantom.landmarks.present.any()
        assert phantom.all_landmarks.present.all()


def test_grid_and_noise_move_no_landmark():
    fine, coarse = (varied_phantom(4, view="heart", spacing_mm=spacing) for spacing in (5.0, 9.0))
    np.testing.assert_array_equal(fine.all_landmarks.points_mm, coarse.all_landmarks.points_mm)


@pytest.mark.parametrize("name", ["right_coronary_ostium", "brachiocephalic_origin", "heart_apex"])
def test_the_image_shows_an_edge_where_a_landmark_is_said_to_lie(name):
    """Within 2 mm of a landmark lie both blood or muscle and what is outside it."""
    spreads = []
    for seed in range(6):
        phantom = varied_phantom(seed, view="chest", spacing_mm=2.0)
        if not len(phantom.landmarks[name]):
            continue
        point = phantom.landmarks[name][0]
        index = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
        grid = phantom.volume.grid
        voxels = np.round(grid.to_vox(point[None])).astype(int) + index
        voxels = np.clip(voxels, 0, np.array(grid.shape) - 1)
        spreads.append(np.ptp(phantom.volume.data[tuple(voxels.T)].astype(float)))
    assert len(spreads) >= 3
    assert np.median(spreads) > 80


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"seed": 1.5}, "seed must be"),
        ({"view": "knee"}, r"view must be one of heart, .*, got 'knee'"),
        ({"spacing_mm": 0.0}, r"spacing_mm must be a number in \(0, 100\), got 0.0"),
        ({"spacing_mm": float("nan")}, "spacing_mm must be"),
    ],
)
def test_wrong_options_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        varied_phantom(**{"seed": 0, **options})
