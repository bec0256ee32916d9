import numpy as np
import pytest

from lmk3d.synthetic import AORTIC_LANDMARKS, CARDIAC_LANDMARKS, cta_phantom
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.phantom import draw_grid

NAMES = CARDIAC_LANDMARKS + AORTIC_LANDMARKS
# Drawn once and kept: another NumPy or another machine must find the same voxels.
PINNED_HU = {
    "heart": [-1003, -972, -1016, -1024, -96, 394, -977],
    "aorta": [-335, 117, -123, 2, -7, -98, 51],
}


@pytest.mark.parametrize("region", ["heart", "aorta"])
def test_a_seed_draws_the_same_voxels_on_every_platform(region):
    data = cta_phantom(2024, region=region, shape=(40, 36, 44)).volume.data.astype(int)
    np.testing.assert_allclose(data.ravel()[1000::9000], PINNED_HU[region], rtol=0, atol=1)


def test_two_seeds_draw_two_subjects():
    one, two = (cta_phantom(seed, shape=(16, 16, 16)) for seed in (1, 2))
    assert np.abs(one.all_landmarks.points_mm - two.all_landmarks.points_mm).min() > 1e-3
    assert (one.volume.data != two.volume.data).mean() > 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"spacing_mm": 14.0},
        {"spacing_mm": (9.0, 12.0, 15.0)},
        {"shape": (12, 14, 16)},
        {"region": "torso"},
        {"oblique": False},
    ],
)
def test_neither_grid_nor_region_moves_the_landmarks(options):
    plain = cta_phantom(5, shape=(8, 8, 8))
    other = cta_phantom(5, **{"shape": (9, 9, 9), **options})
    np.testing.assert_array_equal(other.all_landmarks.points_mm, plain.all_landmarks.points_mm)


def test_landmarks_outside_the_volume_are_missing_and_the_others_unchanged():
    seen = []
    for seed in (1, 8, 25):
        phantom = cta_phantom(seed, region="heart", shape=(4, 4, 4))
        inside = phantom.volume.grid.contains(phantom.all_landmarks.points_mm)
        np.testing.assert_array_equal(phantom.landmarks.present, inside)
        np.testing.assert_array_equal(phantom.landmarks.points_mm[inside], phantom.all_landmarks.points_mm[inside])
        assert phantom.landmarks.names == phantom.all_landmarks.names == NAMES
        seen.append(inside)
    assert [row[:5].tolist() for row in seen] == [
        [True] * 5,
        [True] * 4 + [False],
        [False] * 4 + [True],
    ]  # two are cropped
    assert np.mean(seen, axis=0)[9:].mean() < 0.3  # hardly an abdominal branch in a scan of the heart


@pytest.mark.parametrize(("region", "names"), [("heart", CARDIAC_LANDMARKS), ("aorta", AORTIC_LANDMARKS)])
def test_the_mean_shape_errs_by_more_than_eight_millimetres_for_each_landmark(subjects, region, names):
    rows = [NAMES.index(name) for name in names]
    places = []
    for seed, subject in enumerate(subjects):
        grid = draw_grid(Draws(seed, stream=1), subject, region, (64, 64, 64), None, oblique=True)
        places.append((subject.landmarks.points_mm - grid.center_mm)[rows])
    errors = np.linalg.norm(np.array(places) - np.mean(places, axis=0), axis=-1).mean(0)
    assert errors.min() > 8.0


def test_noise_is_as_strong_as_asked():
    quiet, loud = (cta_phantom(9, shape=(32, 32, 32), noise_hu=level).volume.data for level in (0.0, 25.0))
    assert np.std(loud.astype(float) - quiet) == pytest.approx(25.0, rel=0.1)


@pytest.mark.parametrize(("region", "least", "most"), [("heart", 140, 240), ("aorta", 150, 620), ("torso", 200, 620)])
def test_drawn_scans_have_plausible_fields_and_voxels(subjects, region, least, most):
    spacings, handed, straight = [], set(), 0
    for seed, subject in enumerate(subjects):
        grid = draw_grid(Draws(seed, stream=1), subject, region, None, None, oblique=True)
        assert max(grid.shape) <= 512
        assert least < grid.sides_mm.max() < most
        spacings.append(grid.spacing_mm)
        handed.add(bool(np.linalg.det(grid.axes) > 0))
        straight += np.abs(grid.axes).max(0).min() > 0.9999
    assert handed == {True, False}
    assert 2 < straight < 30
    low, high = (0.34, 0.76) if region == "heart" else (0.6, 2.3)
    assert low < np.min(spacings)
    assert np.max(spacings) < high


def test_a_straight_grid_runs_along_right_front_and_up():
    affine = cta_phantom(4, shape=(6, 7, 8), oblique=False).volume.grid.affine
    np.testing.assert_allclose(affine[:3, :3], np.diag(np.diag(affine[:3, :3])))
    assert np.diag(affine)[:3].min() > 0


def test_shape_and_spacing_are_kept_when_given():
    grid = cta_phantom(4, shape=(6, 7, 8), spacing_mm=(3.0, 4.0, 5.0)).volume.grid
    assert grid.shape == (6, 7, 8)
    np.testing.assert_allclose(grid.spacing_mm, [3, 4, 5])
    grid = cta_phantom(4, spacing_mm=20.0).volume.grid
    np.testing.assert_allclose(grid.spacing_mm, 20)
    assert 140 < grid.sides_mm.min() < 260


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"region": "brain"}, "region must be one of heart, aorta, torso, got 'brain'"),
        ({"shape": (4, 4)}, "shape must be three whole numbers"),
        ({"shape": (4, 4, 0)}, "at least 1 voxel"),
        ({"shape": (4, 4, 2.5)}, "three whole numbers"),
        ({"spacing_mm": 0.0}, "positive numbers"),
        ({"spacing_mm": (1.0, 1.0)}, "one or three"),
        ({"spacing_mm": float("nan")}, "positive numbers"),
        ({"noise_hu": -1.0}, "noise_hu must be"),
    ],
)
def test_wrong_options_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        cta_phantom(0, **options)


@pytest.mark.parametrize("seed", [-1, 1.5])
def test_a_seed_is_a_whole_number_from_zero(seed):
    with pytest.raises(ValueError, match="seed must be"):
        cta_phantom(seed)
