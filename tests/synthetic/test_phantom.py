from dataclasses import replace

import numpy as np
import pytest

from lmk3d.geometry import Grid
from lmk3d.synthetic import AORTIC_LANDMARKS, CARDIAC_LANDMARKS, cta_phantom
from lmk3d.synthetic.anatomy import draw_anatomy
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.phantom import draw_grid
from lmk3d.synthetic.render import render
from lmk3d.synthetic.shapes import Ellipsoid, Tube, unit
from lmk3d.synthetic.window import Window

NAMES = CARDIAC_LANDMARKS + AORTIC_LANDMARKS
ORIGINS = [name for name in AORTIC_LANDMARKS if name.endswith("origin")]


@pytest.fixture(scope="module")
def subjects():
    return [draw_anatomy(seed) for seed in range(30)]


def in_body(subject):
    """Each landmark as R, A, S of the body itself, its pose undone."""
    return dict(zip(subject.landmarks.names, subject.landmarks.points_mm @ subject.turn, strict=True))


def test_there_are_five_cardiac_and_nine_aortic_landmarks():
    assert len(CARDIAC_LANDMARKS) == 5
    assert len(set(NAMES)) == 14


# Drawn once and kept: another NumPy or another machine must find the same subject.
PINNED = {
    "right_coronary_ostium": [-17.000039611486, 18.010312521775, -0.645130477242],
    "left_main_bifurcation": [-35.714300904634, 7.337116012902, 23.540287918175],
    "heart_apex": [-105.958988765245, 34.96948552561, -51.754818376338],
    "brachiocephalic_bifurcation": [9.174704940059, -6.655463492549, 117.650291679735],
    "left_renal_origin": [-48.957807341315, -39.675502222779, -154.245726677099],
    "aortic_bifurcation": [-43.667861095509, -44.340316388676, -264.102155092395],
}
PINNED_HU = {
    "heart": [-1003, -972, -1016, -1024, -96, 394, -977],
    "aorta": [-335, 117, -123, 2, -7, -98, 51],
}


def test_a_seed_draws_the_same_landmarks_on_every_platform():
    found = draw_anatomy(2024).landmarks
    for name, expected in PINNED.items():
        np.testing.assert_allclose(found[name][0], expected, rtol=0, atol=1e-9, err_msg=name)


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


def test_resolution_and_obliquity_show_one_and_the_same_subject():
    subject = draw_anatomy(6)
    centre = subject.landmarks["left_coronary_ostium"][0]
    straight = Grid.around(centre, (80, 80, 80), 0.5)
    turned = Grid.around(centre, (60, 60, 60), (1.0, 0.8, 0.9), draw_grid_axes())
    fine, coarse = render(subject, straight).data.astype(float), render(subject, turned).data
    # Voxels of the turned grid that lie well within the straight one, against its nearest voxels in even tissue.
    index = np.stack(np.meshgrid(*[np.arange(60)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    nearest = np.rint(straight.to_vox(turned.to_mm(index))).astype(int)
    inside = ((nearest > 2) & (nearest < 77)).all(1)
    nearest, index = nearest[inside], index[inside]
    around = np.stack(
        [fine[tuple((nearest + step).T)] for step in np.vstack([2 * np.eye(3), -2 * np.eye(3)]).astype(int)]
    )
    even = np.ptp(around, axis=0) < 5
    assert even.sum() > 5000
    difference = fine[tuple(nearest[even].T)] - coarse[tuple(index[even].T)]
    assert np.mean(np.abs(difference) > 10) < 0.02


def draw_grid_axes():
    return Draws(8, stream=0).tilt(40.0)[:, [2, 0, 1]] * [1, -1, -1]


def test_landmarks_outside_the_volume_are_missing_and_the_others_unchanged():
    seen = []
    for seed in range(30, 42):
        phantom = cta_phantom(seed, region="heart", shape=(4, 4, 4))
        inside = phantom.volume.grid.contains(phantom.all_landmarks.points_mm)
        np.testing.assert_array_equal(phantom.landmarks.present, inside)
        np.testing.assert_array_equal(phantom.landmarks.points_mm[inside], phantom.all_landmarks.points_mm[inside])
        assert phantom.landmarks.names == phantom.all_landmarks.names == NAMES
        seen.append(inside)
    assert 0.75 < np.mean(seen, axis=0)[:5].mean() < 1.0  # some fields of view are cropped
    assert np.mean(seen, axis=0)[9:].mean() < 0.2  # hardly an abdominal branch in a scan of the heart


@pytest.mark.parametrize(("region", "names"), [("heart", CARDIAC_LANDMARKS), ("aorta", AORTIC_LANDMARKS)])
def test_the_mean_shape_errs_by_more_than_eight_millimetres_for_each_landmark(subjects, region, names):
    rows = [NAMES.index(name) for name in names]
    places = []
    for seed, subject in enumerate(subjects):
        grid = draw_grid(Draws(seed, stream=1), subject, region, (64, 64, 64), None, oblique=True)
        places.append((subject.landmarks.points_mm - grid.center_mm)[rows])
    errors = np.linalg.norm(np.array(places) - np.mean(places, axis=0), axis=-1).mean(0)
    assert errors.min() > 8.0


def test_left_is_left_and_front_is_front(subjects):
    for subject in subjects:
        at = in_body(subject)
        assert subject.turn[0, 0] > 0.9  # the body's right is the world's right, but for its pose
        right, front, up = at["heart_apex"] - at["non_coronary_commissure"]
        assert right < -15  # the apex points to the patient's left,
        assert up < -15  # downwards,
        assert front > 0 or right < -60  # and forwards, if not all to the left
        assert at["left_coronary_ostium"][0] < at["right_coronary_ostium"][0] - 3
        assert at["left_coronary_ostium"][1] < at["right_coronary_ostium"][1] - 5
        assert at["left_main_bifurcation"][0] < at["left_coronary_ostium"][0]
        assert at["left_renal_origin"][0] < at["aortic_bifurcation"][0] + 20
        assert at["left_renal_origin"][0] < at["right_renal_origin"][0] - 10


def test_the_arch_runs_to_the_left_and_back_with_its_branches_in_order(subjects):
    for subject in subjects:
        at = in_body(subject)
        trunk, carotid, subclavian = (at[name] for name in ORIGINS[:3])
        assert trunk[0] > carotid[0] > subclavian[0]
        assert trunk[1] > carotid[1] > subclavian[1]
        assert at["brachiocephalic_bifurcation"][0] > trunk[0]
        assert at["brachiocephalic_bifurcation"][2] > trunk[2] + 15


def test_the_abdominal_branches_leave_in_order(subjects):
    for subject in subjects:
        at = in_body(subject)
        coeliac, mesenteric, right, left = (at[name] for name in ORIGINS[3:])
        assert coeliac[2] > mesenteric[2] > max(right[2], left[2]) - 3
        assert min(right[2], left[2]) > at["aortic_bifurcation"][2] + 40
        assert min(coeliac[1], mesenteric[1]) > left[1]


def depth_mm(shape, point):
    """How deep a point lies below a shape's surface, from the share of a small voxel."""
    voxel = Window(point, np.eye(3), np.ones(3), np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.int64))
    edge = 0.4
    return (float(shape.cover(voxel, edge)[0, 0, 0]) - 0.5) / 1.5 * edge


def aorta_of(subject):
    blood = max(shape.hu for shape in subject.shapes if isinstance(shape, Tube) and shape.radii_mm.max() > 11.5)
    tubes = [shape for shape in subject.shapes if isinstance(shape, Tube) and shape.hu == blood]
    return max((tube for tube in tubes if tube.radii_mm.max() > 10), key=lambda tube: len(tube.points_mm))


def test_every_origin_lies_on_the_aortas_wall(subjects):
    for subject in subjects:
        aorta = aorta_of(subject)
        for name in ORIGINS:
            assert depth_mm(aorta, subject.landmarks[name][0]) == pytest.approx(0.0, abs=0.08)


def test_ostia_and_commissure_lie_on_the_walls_of_their_sinuses(subjects):
    for subject in subjects:
        blood = aorta_of(subject).hu
        sinuses = [s for s in subject.shapes if isinstance(s, Ellipsoid) and s.hu == blood and not s.shell_mm][-3:]
        for sinus, name in zip(
            sinuses, ("right_coronary_ostium", "left_coronary_ostium", "non_coronary_commissure"), strict=True
        ):
            assert depth_mm(sinus, subject.landmarks[name][0]) == pytest.approx(0.0, abs=0.01)


def test_contrast_differs_between_subjects_and_tissues_look_like_a_cta(subjects):
    contrasts = [aorta_of(subject).hu for subject in subjects]
    assert min(contrasts) > 250
    assert max(contrasts) < 500
    assert np.ptp(contrasts) > 150
    data = cta_phantom(3, region="torso", shape=(80, 70, 100), oblique=False, noise_hu=0.0).volume.data
    assert (data < -990).mean() > 0.1  # air about the body
    assert ((data > -900) & (data < -750)).mean() > 0.03  # lungs
    assert ((data > -120) & (data < -80)).mean() > 0.1  # fat
    assert ((data > 40) & (data < 130)).mean() > 0.1  # muscle and organs
    assert (data > 200).mean() > 0.01  # blood and bone


def test_noise_is_as_strong_as_asked():
    quiet, loud = (cta_phantom(9, shape=(32, 32, 32), noise_hu=level).volume.data for level in (0.0, 25.0))
    assert np.std(loud.astype(float) - quiet) == pytest.approx(25.0, rel=0.1)


def surroundings(subject, name, half_mm=8.0, spacing=0.25, *, without_branch=False):
    """A fine image about a landmark, perhaps without the branch that starts there."""
    point = subject.landmarks[name][0]
    if without_branch:
        starts = [isinstance(s, Tube) and np.abs(s.points_mm - point).sum(1).min() < 1e-6 for s in subject.shapes]
        assert sum(starts) >= 1
        subject = replace(subject, shapes=tuple(s for s, own in zip(subject.shapes, starts, strict=True) if not own))
    side = 2 * int(half_mm / spacing) + 1
    return render(subject, Grid.around(point + np.array([0.07, -0.05, 0.11]), (side, side, side), spacing), blur_mm=0.1)


def sample(volume, points_mm):
    from scipy.ndimage import map_coordinates

    return map_coordinates(volume.data.astype(float), volume.grid.to_vox(points_mm).T, order=1)


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize(
    "name", ["right_coronary_ostium", "left_coronary_ostium", "right_renal_origin", "coeliac_origin"]
)
def test_an_origin_measured_in_the_image_agrees_with_the_truth(seed, name):
    subject = draw_anatomy(seed)
    blood = aorta_of(subject).hu
    truth = subject.landmarks[name][0]
    alone, both = surroundings(subject, name, without_branch=True), surroundings(subject, name)
    # The branch is what only the whole image shows: its centres in two shells give its line, which is followed back to
    # where the parent alone falls to half its contrast.
    index = np.stack(np.meshgrid(*map(np.arange, both.grid.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    places, more = both.grid.to_mm(index), (both.data.astype(float) - alone.data).ravel()
    away = np.linalg.norm(places - truth, axis=1)
    middles = []
    for distance in (1.2, 1.8):
        chosen = (np.abs(away - distance) < 0.3) & (more > 0.2 * blood)
        middles.append((places[chosen] * more[chosen, None]).sum(0) / more[chosen].sum())
    line = middles[0] + np.linspace(-6, 4, 401)[:, None] * unit(middles[1] - middles[0])
    profile = sample(alone, line)
    half = (blood + min(np.median(profile[-60:]), 60.0)) / 2
    found = line[np.flatnonzero(profile > half)[-1]]
    assert np.linalg.norm(found - truth) < 0.2


@pytest.mark.parametrize("seed", [0, 3])
def test_the_apex_is_the_muscles_tip_in_the_image(seed):
    subject = draw_anatomy(seed)
    truth = subject.landmarks["heart_apex"][0]
    ventricle = next(s for s in reversed(subject.shapes) if isinstance(s, Ellipsoid) and s.egg and s.hu > 200)
    axis = ventricle.axes[:, 2]
    volume = surroundings(
        replace(subject, shapes=tuple(s for s in subject.shapes if not isinstance(s, Tube))), "heart_apex"
    )
    steps = np.linspace(-4, 4, 161)
    profile = sample(volume, truth + steps[:, None] * axis)
    half = (profile[:30].mean() + profile[-30:].mean()) / 2
    assert abs(profile[:30].mean() - profile[-30:].mean()) > 30
    crossing = np.flatnonzero(np.diff(np.sign(profile - half)))[0]
    assert abs(steps[crossing] + 0.025) < 0.2


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
