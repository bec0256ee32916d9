"""Random poses, mirrors and waves: whatever they draw, a blob stays at its landmark."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from numpy.testing import assert_allclose, assert_array_equal
from torch.testing import assert_close

from lmk3d.codecs import ShapeModel
from lmk3d.geometry import Grid, apply_affine, film_affine, random_rotation
from lmk3d.synthetic import film_phantom
from lmk3d.transforms import (
    BlockMeansd,
    EncodePointsd,
    LayOverd,
    PosedImaged,
    RandFieldOfViewd,
    RandMirrord,
    RandPatchesd,
    RandPosed,
    RandWavesd,
)
from lmk3d.transforms.intensity import Window
from lmk3d.transforms.posing import canonical_pose, disturbed_pose
from lmk3d.transforms.registration import Template

GONE = [np.nan] * 3
NAMES = ("left", "right", "front", "top")
PAIRS = (("left", "right"),)
# A landmark shape of about 12 mm whose left and right differ.
SHAPE_MM = np.array([[-6.0, 0, 0], [6.0, 1, 0], [0, 7.0, 1], [1, -1, 6.0]])
MODEL = ShapeModel(SHAPE_MM - SHAPE_MM.mean(0), np.eye(12))


def build(model=None):
    """The training transforms of a bundle as far as they move anything, in their order."""
    return [
        BlockMeansd("image", 1.5),
        RandMirrord("label", NAMES, PAIRS),
        RandWavesd("label", amplitude_mm=0.8, wavelength_mm=40.0),
        RandPosed("coarse", (32, 30, 28), spacing_mm=1.5, max_angle=np.pi, zoom=0.1, shift_mm=3.0, shape=model),
        PosedImaged("coarse", Window(0, 1)),
        EncodePointsd("label"),
        RandPatchesd(
            "image", Window(0, 1), level=0, spacing_mm=1.5, size=16, offset_mm=1.0, count=2, shape=model, max_angle=0.3
        ),
    ]


def run(transforms, sample, seed):
    for number, transform in enumerate(transforms):
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(seed=1000 * seed + number)
        sample = transform(sample)
    return sample


def worst_offset(out, row, find_blob):
    """The largest distance, in voxels, between the blob and what the transforms say of it, in input and patches."""
    offsets = [np.linalg.norm(find_blob(out["input"]) - out["points_vox"][row].numpy())]
    for patch, number, move in zip(out["patches0"], out["numbers0"], out["moves0"], strict=True):
        if number == row:
            offsets.append(np.linalg.norm(find_blob(patch) - (7.5 + move.numpy())))
    return max(offsets)


def check_random_grids(seeds, draw_grid, draw_blob, find_blob, make_sample):
    worst, seen = 0.0, {"mirrored": 0, "waves": 0, "patches": 0}
    pipelines = build(), build(MODEL)
    for seed in seeds:
        generator = np.random.default_rng(seed)
        grid = draw_grid(generator, shape=generator.integers(34, 42, size=3), spacing_mm=(1.0, 1.6))
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = random_rotation(generator), grid.center_mm + generator.uniform(-2, 2, size=3)
        points = apply_affine(pose, SHAPE_MM)
        row = int(generator.integers(4))
        sample = make_sample(grid, draw_blob(grid, points[row]), points)
        out = run(pipelines[seed % 2], sample, seed)
        swapped = {0: 1, 1: 0}.get(row, row) if out["mirrored"] else row
        worst = max(worst, worst_offset(out, swapped, find_blob))
        # A mirrored patient is looked at through a mirrored grid.
        assert (np.linalg.det(out["input"].affine[:3, :3]) < 0) == out["mirrored"]
        seen["mirrored"] += out["mirrored"]
        seen["waves"] += out["waves"] is not None
        seen["patches"] += int((out["numbers0"] == swapped).sum())
    assert worst < 0.1
    assert min(seen.values()) > len(seeds) / 5  # each of them took part


def test_every_transform_keeps_a_blob_at_its_landmark(draw_grid, draw_blob, find_blob, make_sample):
    check_random_grids(range(100), draw_grid, draw_blob, find_blob, make_sample)


@pytest.mark.slow
def test_every_transform_keeps_a_blob_at_its_landmark_on_two_thousand_grids(
    draw_grid, draw_blob, find_blob, make_sample
):
    check_random_grids(range(2000), draw_grid, draw_blob, find_blob, make_sample)


def test_films_stay_in_their_plane(draw_blob, find_blob, make_sample):
    generator = np.random.default_rng(0)
    transforms = [
        BlockMeansd("image", 1.0),
        RandMirrord("label", NAMES, PAIRS, prob=0.5),
        RandWavesd("label", amplitude_mm=1.0, wavelength_mm=60.0, prob=0.5),
        RandPosed("coarse", (40, 44, 1), spacing_mm=1.0, max_angle=0.5, zoom=0.1, shift_mm=2.0),
        PosedImaged("coarse", Window(0, 1)),
        EncodePointsd("label", stride=2),
    ]
    film = Grid((80, 90, 1), np.array([[0, -0.5, 0, 0], [-0.5, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    for seed in range(30):
        points = film.to_mm(np.column_stack([generator.uniform(35, 50, size=(4, 2)), np.zeros(4)]))
        out = run(transforms, make_sample(film, draw_blob(film, points[2]), points), seed)
        assert out["input"].shape == (1, 40, 44, 1)
        assert_allclose(out["points_vox"][:, 2], 0, atol=1e-5)
        assert_allclose(find_blob(out["input"])[:2], 2 * out["points_vox"][2, :2].numpy() + 0.5, atol=0.1)
        assert out["input"].max() > 0.9  # nothing was read from beside the film


def test_a_mirror_swaps_names_and_forgets_what_lies_on_one_side():
    points = np.array([[1.0, 0, 0], [2.0, 0, 0], GONE, [4.0, 0, 0]])
    always = RandMirrord("label", NAMES, PAIRS, one_sided=["top"], prob=1.0)
    out = always({"label": points})
    assert out["mirrored"] is True
    assert_array_equal(out["label"], [[2.0, 0, 0], [1.0, 0, 0], GONE, GONE])
    assert_array_equal(points[3], [4.0, 0, 0])  # the cached case is left alone
    assert_array_equal(RandMirrord("label", NAMES, PAIRS, prob=1.0)(out)["label"][:2], points[:2])


def test_without_pairs_nothing_is_mirrored():
    mirror = RandMirrord("label", NAMES, (), prob=1.0)
    assert not any(mirror({"label": SHAPE_MM})["mirrored"] for _ in range(5))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pairs": [("left", "rihgt")]}, "pair 'left', 'rihgt' is not among the landmarks"),
        ({"pairs": [], "one_sided": ["tip"]}, "one_sided 'tip' is not among the landmarks"),
    ],
)
def test_a_mirror_of_unknown_names_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        RandMirrord("label", NAMES, **options)


def test_waves_move_points_and_leave_missing_ones_missing(make_sample):
    grid = Grid((4, 4, 4), np.eye(4))
    points = np.array([[1.0, 2, 3], GONE])
    sample = make_sample(grid, torch.zeros(grid.shape), points)
    waves = RandWavesd("label", amplitude_mm=1.0, wavelength_mm=40.0, prob=1.0)
    waves.set_random_state(0)
    out = waves(sample)
    assert_allclose(out["waves"](torch.as_tensor(out["label"][:1])).numpy(), points[:1], atol=1e-6)
    assert np.isnan(out["label"][1]).all()
    assert np.linalg.norm(out["label"][0] - points[0]) > 1e-3
    never = RandWavesd("label", amplitude_mm=1.0, wavelength_mm=40.0, prob=0.0)(sample)
    assert never["waves"] is None
    assert_array_equal(never["label"], points)


def test_waves_that_could_fold_the_image_are_refused():
    # 2 pi sqrt(6) a / l <= 0.95, so a <= 0.95 * 20 / 15.39 = 1.23
    with pytest.raises(ValueError, match=r"amplitude_mm 2.0 with wavelength_mm 20.0 would fold .* under 1.23"):
        RandWavesd("label", amplitude_mm=2.0, wavelength_mm=20.0)


def test_poses_without_chance_lie_straight_round_the_middle():
    volume = Grid.around([5.0, 6, 7], (20, 24, 28), 1.0)
    grid = RandPosed("coarse", (8, 6, 4), spacing_mm=2.0).drawn(volume, SHAPE_MM, mirrored=False)
    assert_allclose(grid.affine, Grid.around([5.0, 6, 7], (8, 6, 4), 2.0).affine)
    mirrored = RandPosed("coarse", (8, 6, 4), spacing_mm=2.0).drawn(volume, SHAPE_MM, mirrored=True)
    assert_allclose(mirrored.axes, np.diag([-1, 1, 1]))


def test_drawn_poses_keep_their_bounds():
    volume = Grid.around([0.0, 0, 0], (40, 40, 40), 1.0)
    posed = RandPosed("coarse", (8, 8, 8), spacing_mm=2.0, max_angle=0.3, zoom=0.25, shift_mm=(1, 2, 0))
    posed.set_random_state(0)
    grids = [posed.drawn(volume, SHAPE_MM, mirrored=False) for _ in range(300)]
    spacings = np.array([grid.spacing_mm[0] for grid in grids])
    assert 1.6 <= spacings.min() < 1.65
    assert 2.45 < spacings.max() <= 2.5
    shifts = np.abs([grid.center_mm for grid in grids]).max(0)
    assert_allclose(shifts, [1, 2, 0], atol=0.05)
    angles = [np.arccos(np.clip((np.trace(grid.axes) - 1) / 2, -1, 1)) for grid in grids]
    assert 0.25 < max(angles) <= 0.3


def test_crops_lie_within_the_volume_and_reach_its_ends():
    volume = Grid.around([0.0, 0, 0], (40, 30, 5), (1.0, 1.0, 2.0))
    posed = RandPosed("coarse", (10, 10, 10), spacing_mm=1.0, crop=True)
    posed.set_random_state(0)
    centers = np.array([posed.drawn(volume, SHAPE_MM, mirrored=False).center_mm for _ in range(300)])
    assert_allclose(np.abs(centers).max(0), [15, 10, 0], atol=0.3)  # half of 40 - 10, of 30 - 10, and no room


def test_crops_of_a_film_lie_within_it():
    film = Grid((400, 200, 1), film_affine((1.0, 1.0)))
    posed = RandPosed("coarse", (384, 160, 1), spacing_mm=1.0, crop=True)
    posed.set_random_state(0)
    grids = [posed.drawn(film, np.full((1, 3), np.nan), mirrored=False) for _ in range(50)]
    corners = film.to_vox([grid.to_mm([[0, 0, 0], [383, 159, 0]]) for grid in grids])
    assert_allclose(corners.min((0, 1)), 0, atol=2)
    assert_allclose(corners.max((0, 1)), [399, 199, 0], atol=2)
    assert corners.min() > -1e-6


def test_half_of_the_crops_hold_a_landmark():
    volume = Grid.around([0.0, 0, 0], (400, 400, 400), 1.0)
    posed = RandPosed("coarse", (20, 20, 20), spacing_mm=1.0, crop=True)
    posed.set_random_state(0)
    points = np.array([[100.0, -50, 30], [-150, 0, 0], GONE, [1000, 0, 0]])
    held = [posed.drawn(volume, points, mirrored=False).contains(points) for _ in range(400)]
    assert_allclose(np.mean(held, axis=0), [0.25, 0.25, 0, 0], atol=0.07)


def test_the_canonical_pose_is_where_the_model_lies(draw_grid):
    generator = np.random.default_rng(1)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = 1.1 * random_rotation(generator), [10, 20, 30]
    points = apply_affine(pose, MODEL.mean_mm)
    assert_allclose(canonical_pose(MODEL, points, mirrored=False), pose[:3, :3], atol=1e-9)
    # A mirrored patient whose names were swapped: in the mirror he lies as the model does.
    mirror = np.diag([-1.0, 1, 1])
    assert_allclose(canonical_pose(MODEL, points @ mirror, mirrored=True), mirror @ pose[:3, :3], atol=1e-9)
    assert_array_equal(canonical_pose(None, points, mirrored=False), np.eye(3))
    assert_array_equal(canonical_pose(MODEL, np.array([points[0], points[1], GONE, GONE]), mirrored=False), np.eye(3))


def test_films_turn_about_their_normal():
    film = Grid((8, 8, 1), np.array([[0, 0, 1.0, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]))
    generator = np.random.RandomState(0)
    for _ in range(20):
        turn = disturbed_pose(np.eye(3), film, generator, 0.7)
        assert_allclose(turn @ film.axes[:, 2], film.axes[:, 2], atol=1e-12)
        assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)) <= 0.7


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_points_are_counted_in_voxels_of_the_map(make_sample, stride):
    grid = Grid((8, 8, 8), np.diag([0.5, 0.5, 0.5, 1.0]))
    sample = {
        "input": make_sample(grid, torch.zeros(grid.shape), [])["image"],
        "label": np.array([[1.0, 1.5, 2.0], GONE]),
    }
    out = EncodePointsd("label", stride=stride)(sample)
    middle = (stride - 1) / 2
    expected = [[(2 - middle) / stride, (3 - middle) / stride, (4 - middle) / stride], GONE]
    assert_close(out["points_vox"], torch.tensor(expected), equal_nan=True)
    assert out["points_vox"].dtype == torch.float32


def test_random_states_make_transforms_repeat_themselves(draw_blob, make_sample):
    grid = Grid.around([0, 0, 0], (34, 34, 34), 1.2)
    sample = make_sample(grid, draw_blob(grid, SHAPE_MM[0]), SHAPE_MM)
    first, second, third = (run(build(MODEL), sample, seed) for seed in (5, 5, 6))
    for key in ("input", "points_vox", "patches0", "numbers0", "moves0"):
        assert_close(torch.as_tensor(first[key]), torch.as_tensor(second[key]))
    assert not torch.equal(first["points_vox"], third["points_vox"])


def test_over_a_laid_template_a_grid_sees_the_same_anatomy_wherever_it_lies():
    data = torch.zeros(40, 30, 1)
    home = Grid.around([0.0, 0, 0], (40, 30, 1), 2.0)
    template = Template(data, home, home.center_mm)
    laid = np.array([[1.1, 0.1, 0, 20], [-0.1, 0.9, 0, -7], [0, 0, 1, 0], [0, 0, 0, 1]])
    points = np.array([[3.0, 4, 0], [-10, 5, 0]])
    sample = {"image": MetaTensor(data[None], affine=torch.as_tensor(laid @ home.affine)), "laid": laid}
    sample["label"] = points @ laid[:3, :3].T + laid[:3, 3]
    pose = {"sides": (32, 32, 1), "spacing_mm": 1.5, "max_angle": 0.3, "zoom": 0.2, "shift_mm": 3.0}
    grid = RandPosed("image", template=template, **pose).set_random_state(3)(sample)["grid"]
    plain = {"image": MetaTensor(data[None], affine=torch.as_tensor(home.affine.copy())), "label": points}
    expected = RandPosed("image", **pose).set_random_state(3)(plain)["grid"]
    assert_allclose(grid.to_vox(sample["label"]), expected.to_vox(points), atol=1e-9)


def test_the_template_is_found_in_each_volume():
    pytest.importorskip("SimpleITK")
    phantom = film_phantom(2, kind="skull", side_px=96)
    data, grid = torch.as_tensor(phantom.volume.data).float(), phantom.volume.grid
    template = Template.cut(data, grid, phantom.landmarks.points_mm, shape=(48, 48, 1), margin_mm=20.0)
    move = np.eye(4)
    move[:2, 3] = 6.0, -4.0
    sample = {"coarse": MetaTensor(data[None], affine=torch.as_tensor(move @ grid.affine))}
    assert_allclose(LayOverd("coarse", template)(sample)["laid"], move, atol=0.5)


def test_field_of_view_blanks_the_rim_and_what_lies_in_it_is_known_to_be_outside():
    image = MetaTensor(torch.ones(1, 40, 30, 20), affine=torch.eye(4))
    points = torch.as_tensor(np.random.default_rng(0).uniform([0, 0, 0], [19, 14, 9], (200, 3)), dtype=torch.float32)
    points[0] = torch.nan
    transform = RandFieldOfViewd("input", stride=2, cut=0.4, prob=1.0)
    cut = 0
    for seed in range(20):
        out = transform.set_random_state(seed)({"input": image, "points_vox": points})
        seen = torch.nonzero(out["input"][0])
        low, high = seen.amin(0), seen.amax(0) + 1
        assert out["input"].sum() == (high - low).prod()  # one box
        at = 2 * (points + 0.5)  # of the image's voxels, its first face at 0
        inside = ((at >= low) & (at <= high)).all(1)
        assert torch.equal(out["points_vox"][inside], points[inside])
        assert (out["points_vox"][~inside & ~points.isnan().any(1)] < -100).all()
        assert out["points_vox"][0].isnan().all()
        cut += int((~inside).sum() > 1)
    assert cut > 10
    assert image.min() == 1
    with pytest.raises(ValueError, match="cut must be"):
        RandFieldOfViewd("input", cut=0.5)


def test_field_of_view_keeps_the_depth_of_a_film():
    image = torch.ones(1, 40, 30, 1)
    out = RandFieldOfViewd("input", cut=0.4, prob=1.0).set_random_state(1)(
        {"input": image, "points_vox": torch.zeros(1, 3)}
    )
    assert out["input"].sum() > 0


def test_beyond_its_end_the_image_goes_on_mirrored_where_it_is_asked_to():
    data = torch.arange(1.0, 9.0).repeat(8, 8, 1)[None]
    sample = {"coarse": MetaTensor(data, affine=torch.eye(4)), "label": np.zeros((1, 3))}
    posed = RandPosed("coarse", (8, 8, 16), spacing_mm=1.0, reflect=1.0).set_random_state(0)(sample)
    column = PosedImaged("coarse", Window(0, 8))(posed)["input"][0, 4, 4] * 8
    assert_allclose(column, [4, 3, 2, 1, 1, 2, 3, 4, 5, 6, 7, 8, 8, 7, 6, 5], atol=1e-4)
    posed = RandPosed("coarse", (8, 8, 16), spacing_mm=1.0).set_random_state(0)(sample)
    column = PosedImaged("coarse", Window(0, 8))(posed)["input"][0, 4, 4] * 8
    assert_allclose(column, [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0], atol=1e-4)


def test_usual_grids_lie_as_scans_of_the_training_do_and_are_not_cut():
    sample = {"coarse": MetaTensor(torch.ones(1, 40, 40, 40), affine=torch.eye(4)), "label": np.zeros((1, 3))}
    posed = RandPosed(
        *("coarse", (40, 40, 40)), spacing_mm=1.0, zoom=0.4, shift_mm=15.0, reflect=1.0, usual=0.5, usual_shift_mm=1.0
    ).set_random_state(0)
    blank = RandFieldOfViewd("input", cut=0.4, prob=1.0).set_random_state(0)
    moved = {True: [], False: []}
    for _ in range(40):
        out = posed(sample)
        moved[out["usual"]].append(np.abs(out["grid"].center_mm - 19.5).max())
        assert out["reflected"] is not out["usual"]
        out |= {"input": torch.ones(1, 40, 40, 40), "points_vox": torch.zeros(1, 3)}
        assert bool(blank(out)["input"].all()) or not out["usual"]
        assert 1 / 1.1 < out["grid"].spacing_mm[0] < 1.1 or not out["usual"]
    assert len(moved[True]) > 10
    assert max(moved[True]) <= 1.0 < 5.0 < max(moved[False])
