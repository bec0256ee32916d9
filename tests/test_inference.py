"""LandmarkDetector: from a volume to landmarks, and every way in which a bundle or an image can be unusable."""

import json
import os
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.nn import functional

from lmk3d.calibration import Calibration
from lmk3d.codecs import DenseCodec, HeatmapCodec, LandmarkTree, UsualPlaces
from lmk3d.conformal import Radii
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume, random_rotation
from lmk3d.inference import LandmarkDetector, Level, default_bundle
from lmk3d.landmarks import Landmarks
from lmk3d.networks import Cascade, HeatmapRefiner, HeatmapUNet
from lmk3d.networks.blocks import FlatDepth
from lmk3d.pose_search import View
from lmk3d.transforms import sampling
from lmk3d.transforms.intensity import Window

NAMES = ("bright", "dimmer", "dim", "faint")
HEIGHTS = (1.0, 0.6, 0.36, 0.2)  # far enough apart that a blob sampled beside its peak is not taken for the next one
SHAPE_MM = np.array([[-14.0, -9, -4], [13.0, -10, 6], [2.0, 14, -12], [-5.0, 5, 15]])


class BlobStage(nn.Module):
    """A first stage that knows its landmarks by the height of their blobs: a logit for each local maximum."""

    def __init__(self, heights=HEIGHTS, divisor=8):
        super().__init__()
        self.heights, self.divisor = heights, divisor

    def forward(self, image):
        pool = functional.max_pool3d if image.ndim == 5 else functional.max_pool2d
        top = image == pool(image, 5, stride=1, padding=2)
        maps = [top & (image > 0.68 * height) & (image < 1.02 * height) for height in self.heights]
        return torch.cat(maps, dim=1) * 40.0 - 20.0


class BlobRefiner(nn.Module):
    """A second stage that moves to the centre of mass of what is brighter than a third of the patch's brightest."""

    def forward(self, patches, landmarks):
        mass = (patches[:, 0] - 0.35 * patches.amax((1, 2, 3, 4))[:, None, None, None]).clamp_min(0)
        steps = [torch.arange(side) - (side - 1) / 2 for side in patches.shape[2:]]
        moves = [torch.einsum(f"pijk,{axis}->p", mass, step) for axis, step in zip("ijk", steps, strict=True)]
        return torch.stack(moves, dim=1) / mass.sum((1, 2, 3))[:, None], torch.full((len(patches),), np.log(0.01))


def detector(count=4, *, refined=True, heatmap=None, shape=None, **options):
    network = Cascade(heatmap or BlobStage(HEIGHTS[:count]), [BlobRefiner()] if refined else [], num_landmarks=count)
    network.error_ratio.fill_(3.0)  # as a validation would find it if the refiners' Laplace scale were right
    if shape is not None:
        network.mean_shape.copy_(torch.as_tensor(shape))
        network.shape_covariance.copy_(0.3 * torch.eye(3 * count))
    levels = [Level(1.0, 12, passes=2)] if refined else []
    settings = {"names": NAMES[:count], "window": Window(0, 100), "codec": HeatmapCodec(), "spacing_mm": 1.5}
    return LandmarkDetector(network, levels=levels, **{**settings, **options})


def draw(grid, points_mm, heights=HEIGHTS, sigma_mm=3.0):
    """A volume with a blob of each height at each point; NaN draws none."""
    steps = grid.to_mm(np.stack(np.meshgrid(*[np.arange(side) for side in grid.shape], indexing="ij"), axis=-1))
    data = np.zeros(grid.shape)
    for point, height in zip(points_mm, heights, strict=False):
        if np.isfinite(point).all():
            data += 100 * height * np.exp(-((steps - point) ** 2).sum(-1) / (2 * sigma_mm**2))
    return Volume(data.astype(np.float32), grid)


class KnowsSteps(nn.Module):
    """A refiner that has learnt one step for each way along the tree, in patch voxels; for any other way none."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.asked = torch.as_tensor(steps, dtype=torch.float32), []

    def forward(self, patches, numbers):
        self.asked.append(sorted(numbers.tolist()))
        return self.steps[numbers], torch.zeros(len(numbers))


def stepping(network):
    settings = {"names": NAMES, "window": Window(0, 100), "codec": HeatmapCodec(), "spacing_mm": 1.5}
    return LandmarkDetector(network, levels=[Level(2.0, 12, steps=True)], **settings)


@pytest.mark.parametrize("axes", [np.eye(3), random_rotation(np.random.default_rng(1))])
def test_landmarks_follow_one_by_one_from_the_surest(axes):
    """The first stage is wrong about all but one; in a tree, steps lead from that one to all others."""
    tree = LandmarkTree(np.array([-1, 0, 1, 1]), np.zeros((4, 3)), np.tile(np.eye(3), (4, 1, 1)))
    steps = np.zeros((8, 3))
    for start, end, number in tree.ways():
        steps[number] = (SHAPE_MM[end] - SHAPE_MM[start]) / 2  # in patch voxels of 2 mm
    network = Cascade(BlobStage(), [KnowsSteps(steps)], num_landmarks=4, tree=True, steps=True)
    network.keep(tree=tree)
    finder = stepping(network)
    grid = Grid.around([3.0, 2, 1], (48, 46, 44), 1.0, axes)
    points = grid.center_mm + SHAPE_MM
    wrong = points + np.array([[9.0, 0, 0], [0, 9, 0], [0, 0, 0], [0, 0, -9]])
    look = View(wrong[:, None], np.array([[0.4], [0.3], [0.9], [0.2]]), np.array([1.0, 1, 1, 1]))
    finder._look = lambda scan, grid: look
    assert_allclose(finder.detect(draw(grid, points)).points_mm, points, atol=1e-4)
    assert network.refiners[0].asked == [[6], [3, 1 + 4]]  # from 2 up to 1; from there to 0 and to 3
    # In validation another one was mistaken less often: all follow from that one.
    network.mistakes.copy_(torch.tensor([0.2, 0.1, 0.3, 0.15]))
    assert_allclose(finder.detect(draw(grid, points)).points_mm, points + np.array([0, 9, 0]), atol=1e-4)
    # One that is about as sure, and not mistaken more often, keeps its own place.
    network.mistakes.zero_()
    look.weights[0] = 0.5
    kept = points + np.array([[9.0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert_allclose(finder.detect(draw(grid, points)).points_mm, kept, atol=1e-4)
    # What is not there is not looked for, and nothing is found from it.
    look.weights[0] = 0.4
    look.presence[1] = 0.1
    found = finder.detect(draw(grid, points))
    assert_array_equal(found.present, [True, False, True, True])
    assert_allclose(found.points_mm[[0, 2, 3]], wrong[[0, 2, 3]], atol=1e-6)


def test_steps_begin_at_refined_landmarks_and_where_validation_knows_best():
    """The first stage is a little off where it is right; which landmark it mistakes holds in usual fields of view."""
    tree = LandmarkTree(np.array([-1, 0, 1, 1]), np.zeros((4, 3)), np.tile(np.eye(3), (4, 1, 1)))
    steps = np.zeros((8, 3))
    for start, end, number in tree.ways():
        steps[number] = (SHAPE_MM[end] - SHAPE_MM[start]) / 2
    network = Cascade(
        BlobStage(), [KnowsSteps(steps), BlobRefiner()], num_landmarks=4, tree=True, places=True, steps=True
    )
    grid = Grid.around([3.0, 2, 1], (48, 46, 44), 1.0)
    points = grid.center_mm + SHAPE_MM
    network.keep(tree=tree, places=UsualPlaces.learn([points] * 5, [grid] * 5))
    network.mistakes.copy_(torch.tensor([0.0, 0.1, 0.1, 0.1]))
    settings = {"names": NAMES, "window": Window(0, 100), "codec": HeatmapCodec(), "spacing_mm": 1.5}
    finder = LandmarkDetector(network, levels=[Level(2.0, 12, steps=True), Level(1.0, 12, passes=2)], **settings)
    seen = points + np.array([[2.0, 1, 0], [0, 12, 0], [0, 0, 2], [-12, 0, 0]])
    look = View(seen[:, None], np.array([[0.8], [0.1], [0.9], [0.1]]), np.ones(4))
    finder._look = lambda scan, grid: look
    found = finder.detect_stages(draw(grid, points))
    assert_allclose(found["refined 1"].points_mm, points, atol=0.3)  # from the first one, which was 2.2 mm off
    assert network.refiners[0].asked == [[1], [2, 3]]
    network.refiners[0].asked.clear()
    finder.detect(draw(Grid.around(grid.center_mm, (60, 46, 44), 1.0), points))
    assert network.refiners[0].asked == [[1, 6], [3]]  # from both that it is sure of


def test_steps_need_a_tree_and_a_network_that_was_made_for_them():
    network = Cascade(BlobStage(), [KnowsSteps(np.zeros((8, 3)))], num_landmarks=4, tree=True)
    with pytest.raises(ValueError, match="a level of steps needs a network with a tree and steps"):
        stepping(network)


def test_blobs_are_found_on_grids_of_any_kind(draw_grid):
    generator = np.random.default_rng(0)
    for _ in range(6):
        grid = draw_grid(generator, shape=generator.integers(44, 56, size=3), spacing_mm=(0.9, 1.4))
        points = grid.center_mm + SHAPE_MM @ random_rotation(generator).T
        found = detector().detect(draw(grid, points))
        assert found.names == NAMES
        assert_allclose(found.points_mm, points, atol=0.1)
        assert (found.confidence > 0.99).all()
        # Laplace scale 0.1 voxel of 1 mm, times the ratio that a right scale has.
        assert_allclose(found.error_mm, 0.3, atol=1e-6)


def test_each_stage_comes_nearer():
    grid = Grid.around([3.0, 2, 1], (48, 46, 44), 1.0)
    points = grid.center_mm + SHAPE_MM + 0.4
    stages = detector(spacing_mm=2.0).detect_stages(draw(grid, points))
    assert list(stages) == ["heatmap", "refined 1"]
    first, last = (np.linalg.norm(stages[name].points_mm - points, axis=1).max() for name in stages)
    assert last < 0.05 < first < 2.0


class LooksAlike(BlobStage):
    """A first stage that sees every landmark of one kind, and takes the brighter of two blobs for one landmark."""

    def forward(self, image):
        maps = super().forward(image)
        maps[:, 1] = torch.maximum(maps[:, 1] - 1, maps[:, 0])
        return maps


def test_neighbours_choose_among_the_peaks_of_a_landmark_that_looks_like_another():
    grid = Grid.around([3.0, 2, 1], (48, 46, 44), 1.0)
    points = grid.center_mm + SHAPE_MM + 0.4
    finder, volume = detector(refined=False, heatmap=LooksAlike(HEIGHTS)), draw(grid, points)
    assert np.linalg.norm(finder.detect(volume).points_mm - points, axis=1)[1] > 5
    network = Cascade(LooksAlike(HEIGHTS), [], num_landmarks=4, tree=True)
    network.keep(tree=LandmarkTree.from_shapes(np.tile(SHAPE_MM, (20, 1, 1))))
    finder.network = network
    assert_allclose(finder.detect(volume).points_mm, points, atol=1.0)
    other = Cascade(LooksAlike(HEIGHTS), [], num_landmarks=4, tree=True)
    other.load_state_dict(network.state_dict())  # the tree is kept with the weights
    finder.network = other
    assert_allclose(finder.detect(volume).points_mm, points, atol=1.0)


def test_the_usual_place_decides_between_like_peaks_where_the_field_of_view_is_usual():
    grid = Grid.around([3.0, 2, 1], (48, 46, 44), 1.0)
    points = grid.center_mm + SHAPE_MM
    network = Cascade(BlobStage(), [], num_landmarks=4, tree=True, places=True)
    network.keep(tree=LandmarkTree.from_shapes(np.tile(SHAPE_MM, (20, 1, 1))))
    finder = detector(refined=False)
    finder.network = network
    wrong = points + np.array([9.0, 0, 0])
    view = View(np.stack([wrong, points], 1), np.tile([0.5, 0.4], (4, 1)), np.ones(4))
    finder._look = lambda scan, grid: view
    assert_allclose(finder.detect(draw(grid, points)).points_mm, wrong)  # nothing has been learnt
    network.keep(places=UsualPlaces.learn([points] * 5, [grid] * 5))
    assert_allclose(finder.detect(draw(grid, points)).points_mm, points)
    larger = Grid.around(grid.center_mm, (48, 46, 60), 1.0)
    assert_allclose(finder.detect(draw(larger, points)).points_mm, wrong)


def test_a_share_of_each_move_is_made():
    grid = Grid.around([3.0, 2, 1], (48, 46, 44), 1.0)
    finder, volume = detector(spacing_mm=2.0), draw(grid, grid.center_mm + SHAPE_MM + 0.4)
    moves = []
    for share in (1.0, [0.25, 0.25, 0.5, 0.25]):
        finder.levels = (Level(1.0, 12, share=share),)
        first, last = (found.points_mm for found in finder.detect_stages(volume).values())
        moves.append(last - first)
    assert_allclose(moves[1], [[0.25], [0.25], [0.5], [0.25]] * moves[0], atol=1e-6)


def test_many_patches_are_cut_from_block_means_and_see_the_same(monkeypatch):
    grid = Grid.around([3.0, 2, 1], (96, 92, 90), 0.5)
    volume, finder = draw(grid, grid.center_mm + SHAPE_MM + 0.4), detector(spacing_mm=2.0)
    source, from_block_means = sampling.Scan.source, []

    def noted(scan, *given):
        found = source(scan, *given)
        from_block_means.append(found[0].shape != scan.data.shape)
        return found

    monkeypatch.setattr(sampling.Scan, "source", noted)
    finder.levels = (Level(1.0, 12, passes=2),)
    finder.detect(volume)
    assert from_block_means == [False] * 2
    finder.levels = (Level(1.0, 12, passes=20),)
    from_means = finder.detect(volume)
    assert from_block_means[2:] == [True] * 20
    monkeypatch.setattr(sampling.Scan, "source", lambda scan, *_: (scan.data, scan.grid))
    assert_allclose(from_means.points_mm, finder.detect(volume).points_mm, atol=1e-4)


@pytest.mark.parametrize("seed", range(2))
def test_patients_lying_at_any_angle_are_found(draw_grid, seed):
    generator = np.random.default_rng(seed)
    grid = draw_grid(generator, shape=(52, 50, 48), spacing_mm=(1.0, 1.2))
    points = grid.center_mm + 1.1 * SHAPE_MM @ random_rotation(generator).T
    stages = detector(pose="any", shape=SHAPE_MM, tolerance_mm=3.0).detect_stages(draw(grid, points))
    assert list(stages) == ["heatmap", "shape", "refined 1"]
    # The blobs agree with the shape but for its size: a refined point is pulled by a sixth of a mm at most.
    assert_allclose(stages["refined 1"].points_mm, points, atol=0.2)


def test_the_shape_fills_in_a_landmark_that_no_map_shows():
    grid = Grid.around([0.0, 0, 0], (48, 48, 48), 1.0)
    points = SHAPE_MM @ random_rotation(np.random.default_rng(1)).T
    shown = points.copy()
    shown[3] = np.nan
    stages = detector(pose="any", shape=SHAPE_MM, tolerance_mm=3.0, refined=False).detect_stages(draw(grid, shown))
    assert_allclose(stages["shape"].points_mm, points, atol=1.0)
    assert_allclose(stages["shape"].confidence, 0.75)  # of the peaks agree


def test_radii_take_the_place_of_expected_errors_after_the_last_stage():
    grid = Grid.around([3.0, 2, 1], (48, 46, 44), 1.0)
    volume = draw(grid, grid.center_mm + SHAPE_MM)
    finder = detector()
    plain = finder.detect(volume)
    assert plain.coverage is None
    scores = np.outer(np.arange(1.0, 20), [1, 2, 3, np.nan])
    finder.calibration, finder.coverage = Calibration({}, None, Radii(scores, tuple("abcdefghijklmnopqrs"))), 0.8
    found = finder.detect(volume)
    assert found.coverage == 0.8
    assert_allclose(found.error_mm, plain.error_mm / 3 * [16, 32, 48, np.nan])  # the error ratio is 3
    assert found.notes == ("each radius holds the ground truth in 80 % of new patients (from 19 validation patients)",)
    first = finder.detect_stages(volume)["heatmap"]
    assert first.coverage is None
    assert_allclose(first.error_mm, 3 * 1.5)
    finder.calibration = Calibration({}, None, Radii(scores[:8], tuple("abcdefgh")))
    assert finder.detect(volume).coverage == 0.8
    finder.coverage = 0.95
    assert finder.detect(volume).coverage == pytest.approx(8 / 9)


def test_a_landmark_outside_the_image_is_reported_missing():
    grid = Grid.around([0.0, 0, 0], (48, 48, 48), 1.0)
    points = SHAPE_MM.copy()
    points[1] = np.nan
    found = detector().detect(draw(grid, points))
    assert_array_equal(found.present, [True, False, True, True])
    assert found.confidence[1] < 0.01
    assert np.isnan(found.error_mm[1])
    everything = detector(min_presence=0.0).detect(draw(grid, points))
    assert everything.present.sum() >= 3


def test_a_point_that_a_refiner_moves_out_of_the_image_is_missing():
    class Away(nn.Module):
        def forward(self, patches, landmarks):
            return torch.full((len(patches), 3), 30.0), torch.zeros(len(patches))

    finder = detector()
    finder.network.refiners[0] = Away()
    grid = Grid.around([0.0, 0, 0], (48, 48, 48), 1.0)
    found = finder.detect(draw(grid, SHAPE_MM))
    assert not found.present.any()
    assert_array_equal(found.confidence, 0)  # sure as the first stage was


def test_films_are_found_in_their_plane():
    film = Grid((60, 50, 1), np.array([[0, -1.0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    points = film.to_mm([[15.3, 12.6, 0], [40.2, 33.4, 0]])
    finder = detector(2, refined=False, heatmap=FlatDepth(BlobStage(HEIGHTS[:2])), spacing_mm=1.0)
    volume = draw(film, points)
    found = finder.detect(Volume(volume.data, film, unit="px"))
    assert_allclose(found.points_mm, points, atol=0.75)  # the stage marks whole voxels
    assert found.unit == "px"
    assert finder.first_stage_grid(film).shape == (64, 56, 1)


def test_a_real_network_runs_on_films_and_on_volumes_of_any_shape():
    torch.manual_seed(0)
    flat = detector(2, refined=False, heatmap=FlatDepth(HeatmapUNet(2, channels=(4, 8), spatial_dims=2, stride=2)))
    deep = detector(2, refined=False, heatmap=HeatmapUNet(2, channels=(4, 8, 8), stride=2))
    generator = np.random.default_rng(2)
    for finder, shape in ((flat, (33, 21, 1)), (deep, (9, 40, 21)), (deep, (3, 2, 4))):
        volume = Volume(generator.integers(-100, 100, size=shape).astype(np.int16), Grid.around([0, 0, 0], shape, 1.3))
        assert finder.detect(volume).names == NAMES[:2]


def test_both_stages_work_on_films_in_any_plane():
    turn = np.linalg.qr(np.random.default_rng(6).normal(size=(3, 3)))[0]
    for axes in (np.eye(3), turn):
        grid = Grid.around([5.0, 6, 7], (60, 56, 1), 1.0, axes)
        points = grid.to_mm(grid.to_vox(grid.center_mm) + (SHAPE_MM[:2] + 0.3) * [1, 1, 0])
        stage = FlatDepth(BlobStage(HEIGHTS[:2]))
        stages = detector(2, heatmap=stage, spacing_mm=2.0).detect_stages(draw(grid, points))
        first, last = (np.linalg.norm(stages[name].points_mm - points, axis=1) for name in ("heatmap", "refined 1"))
        assert last.max() < 0.1 < first.max()


@pytest.mark.parametrize("side_px", [None, 60.0])
def test_films_in_mm_are_looked_at_in_pixels_where_the_training_was(side_px):
    grid = Grid((60, 48, 1), np.eye(4))
    points = grid.center_mm + SHAPE_MM[:2] * [1, 1, 0]
    film = draw(grid, points)
    finder = detector(2, heatmap=FlatDepth(BlobStage(HEIGHTS[:2])), side_px=side_px, unit="px")
    found = finder.detect(replace(film, grid=grid.scaled(0.14)))
    assert found.unit == "mm"
    assert_allclose(found.points_mm, 0.14 * finder.detect(replace(film, unit="px")).points_mm, atol=1e-6)


def test_films_without_a_spacing_are_refused_where_the_training_was_in_mm():
    finder = detector(2, heatmap=FlatDepth(BlobStage(HEIGHTS[:2])), unit="mm")
    film = draw(Grid((60, 48, 1), np.eye(4)), SHAPE_MM[:2] * [1, 1, 0])
    with pytest.raises(InputError, match=r"says no spacing, but this bundle was trained in mm; say it \(--spacing\)"):
        finder.detect(replace(film, unit="px"))


def test_films_without_a_spacing_are_found_at_any_size_of_their_pixels():
    grid = Grid((60, 48, 1), np.eye(4))
    points = grid.center_mm + SHAPE_MM[:2] * [1, 1, 0]
    film = draw(grid, points)
    finder = detector(2, heatmap=FlatDepth(BlobStage(HEIGHTS[:2])), side_px=60.0)
    data = film.data.repeat(2, axis=0).repeat(2, axis=1)
    found = finder.detect(Volume(data, Grid((120, 96, 1), np.eye(4)), "px"))
    assert found.unit == "px"
    # Four pixels in place of one: its middle lies half of a finer pixel further on.
    assert_allclose(found.points_mm[:, :2], 2 * points[:, :2] + 0.5, atol=0.2)
    assert_allclose(found.error_mm, 2 * finder.detect(film).error_mm, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", ">u2", "f8", ">f4"])
def test_every_stored_type_and_order_gives_the_same_points(dtype):
    grid = Grid.around([0.0, 0, 0], (44, 46, 48), 1.0)
    data = draw(grid, SHAPE_MM).data.round()
    expected = detector().detect(Volume(data, grid)).points_mm
    for order in ("C", "F"):
        stored = np.asarray(data, dtype=dtype, order=order)
        stored.flags.writeable = False
        assert_allclose(detector().detect(Volume(stored, grid)).points_mm, expected, atol=1e-4)
    windows = detector(sliding=(32, 32, 32))
    expected = windows.detect(Volume(data, grid)).points_mm
    assert_allclose(windows.detect(Volume(stored, grid)).points_mm, expected, atol=1e-4)


def test_small_images_are_padded_to_what_the_network_knows():
    finder = detector(sides=(40, 24, 16), spacing_mm=2.0)
    grid = finder.first_stage_grid(Grid.around([1.0, 2, 3], (20, 30, 70), 1.0))
    assert grid.shape == (40, 24, 40)  # 70 mm are 35 voxels of 2 mm, in blocks of 8
    assert_allclose(grid.center_mm, [1, 2, 3])
    assert_allclose(grid.spacing_mm, 2.0)


def test_a_volume_much_larger_than_those_of_the_training_is_seen_through_windows_of_their_size():
    seen = []

    class Watched(BlobStage):
        def forward(self, image):
            seen.append(tuple(image.shape[2:]))
            return super().forward(image)

    finder = detector(heatmap=Watched(HEIGHTS), sides=(32, 32, 32), spacing_mm=1.5, windowed=True)
    near = draw(Grid.around([0.0, 0, 0], (52, 52, 52), 1.0), SHAPE_MM)
    assert_allclose(finder.detect(near).points_mm, SHAPE_MM, atol=0.1)
    assert set(seen) == {(40, 40, 40)}  # 52 mm are 35 voxels, a quarter more than 32 at most
    seen.clear()
    far = draw(Grid.around([-20.0, 10, 30], (120, 100, 140), 1.0), SHAPE_MM)
    assert_allclose(finder.detect(far).points_mm, SHAPE_MM, atol=0.1)
    assert set(seen) == {(32, 32, 32)}
    assert len(seen) > 8


@pytest.mark.parametrize(
    ("volume", "text"),
    [
        (
            Volume(np.full((9, 9, 9), 7, np.int16), Grid((9, 9, 9), np.eye(4))),
            r"the image is constant \(7 everywhere\)",
        ),
        (Volume(np.full((9, 9, 9), 0.1, np.float32), Grid((9, 9, 9), np.diag([0.5, 0.5, 0.5, 1]))), "is constant"),
        (Volume(np.full((9, 9, 9), np.nan), Grid((9, 9, 9), np.eye(4))), "the image holds NaN or infinite voxels"),
        (Volume(np.eye(9)[:, :, None], Grid((9, 9, 1), np.eye(4))), "the image is one voxel thick, but this bundle"),
        (Volume(np.ones((1, 1, 1)), Grid((1, 1, 1), np.eye(4))), "the image is one voxel thick"),
        (
            Volume(np.arange(27.0).reshape(3, 3, 3), Grid((3, 3, 3), np.diag([9e4, 9e4, 9e4, 1]))),
            "the image measures 270000 x 270000 x 270000 mm, far more than 1.5 mm voxels .* is its spacing right",
        ),
    ],
)
def test_images_it_cannot_use_are_refused(volume, text):
    with pytest.raises(InputError, match=text):
        detector().detect(volume)


def test_a_few_voxels_that_are_no_number_are_enough_to_refuse():
    data = draw(Grid.around([0.0, 0, 0], (44, 44, 44), 1.0), SHAPE_MM).data
    data[20, 20, 20] = np.inf
    with pytest.raises(InputError, match="the image holds NaN or infinite voxels"):
        detector().detect(Volume(data, Grid.around([0.0, 0, 0], (44, 44, 44), 1.0)))


def test_volumes_are_refused_where_films_are_expected():
    finder = detector(2, refined=False, heatmap=FlatDepth(BlobStage(HEIGHTS[:2])))
    with pytest.raises(InputError, match="the image has 4 slices, but this bundle is for films"):
        finder.detect(Volume(np.zeros((9, 9, 4)), Grid((9, 9, 4), np.eye(4))))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"names": ("a", "b")}, "the network finds 4 landmarks, but 2 names came"),
        ({"levels": []}, "the network has 1 refiners, but 0 levels came"),
        ({"levels": [Level(1.0, 12, share=(1.0, 0.5))]}, "share must be one number or 4, got 2"),
        ({"pose": "anny"}, "pose must be 'world' or 'any', got 'anny'"),
        ({"unit": "cm"}, "unit must be 'mm', 'px' or None, got 'cm'"),
        ({"sides": (16, 10, 1)}, r"each of sides must be a multiple of 8, got \[16, 10, 1\]"),
        ({"sliding": (8, 8)}, r"sliding must be three sides of at least 1 voxel, got \[8, 8\]"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(options, text):
    settings = {"names": NAMES, "levels": [Level(1.0, 12)], "window": Window(0, 1), "codec": HeatmapCodec()}
    network = Cascade(BlobStage(), [BlobRefiner()], num_landmarks=4)
    with pytest.raises(ValueError, match=text):
        LandmarkDetector(network, **{**settings, "spacing_mm": 1.0, **options})


def tiny_config():
    return {
        "names": ["a", "b"],
        "network_def": {
            "_target_": "lmk3d.networks.Cascade",
            "heatmap": {"_target_": "lmk3d.networks.HeatmapUNet", "num_outputs": 2, "channels": [4, 8]},
            "refiners": [
                {
                    "_target_": "lmk3d.networks.HeatmapRefiner",
                    "num_landmarks": 2,
                    "patch_size": 8,
                    "channels": [4, 4, 4],
                    "max_move_vox": 4.0,
                }
            ],
            "num_landmarks": 2,
        },
        "detector": {
            "_target_": "lmk3d.inference.LandmarkDetector",
            "network": "@network_def",
            "names": "@names",
            "window": {"_target_": "lmk3d.transforms.intensity.Window", "low": 0, "high": 1},
            "codec": {"_target_": "lmk3d.codecs.HeatmapCodec"},
            "spacing_mm": 2.0,
            "levels": [{"_target_": "lmk3d.inference.Level", "spacing_mm": 1.0, "size": 8}],
        },
    }


def tiny_network():
    refiner = HeatmapRefiner(2, patch_size=8, channels=(4, 4, 4), max_move_vox=4.0)
    return Cascade(HeatmapUNet(2, channels=(4, 8)), [refiner], num_landmarks=2)


@pytest.fixture
def bundle(tmp_path):
    """A bundle with random weights."""
    torch.manual_seed(0)
    (tmp_path / "models").mkdir()
    (tmp_path / "inference.json").write_text(json.dumps(tiny_config()), encoding="utf-8")
    (tmp_path / "metadata.json").write_text('{"version": "1.2.3"}', encoding="utf-8")
    torch.save(tiny_network().state_dict(), tmp_path / "models" / "model.pt")
    return tmp_path


def test_a_bundle_is_loaded_with_its_weights_and_version(bundle):
    finder = LandmarkDetector.from_bundle(bundle)
    assert finder.names == ("a", "b")
    assert finder.version == "1.2.3"
    assert not finder.network.training
    torch.manual_seed(0)
    for weight, own in zip(tiny_network().parameters(), finder.network.parameters(), strict=True):
        assert torch.equal(weight, own)
    data = np.random.default_rng(0).random((20, 18, 16))
    assert finder.detect(Volume(data, Grid((20, 18, 16), np.eye(4)))).names == ("a", "b")


@pytest.mark.parametrize(("warning", "notes"), [("phantoms alone", ("phantoms alone",)), (3, ()), (None, ())])
def test_a_bundles_warning_goes_with_its_points(bundle, warning, notes):
    (bundle / "metadata.json").write_text(json.dumps({"version": "1", "warning": warning}), encoding="utf-8")
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    torch.save(weights | {"error_ratio": torch.tensor(1.5, dtype=torch.float64)}, bundle / "models" / "model.pt")
    finder = LandmarkDetector.from_bundle(bundle)
    data = np.random.default_rng(0).random((20, 18, 16))
    assert finder.notes[:-1] == notes
    assert finder.notes[-1].startswith("nothing assesses its predictions")
    assert finder.detect(Volume(data, Grid((20, 18, 16), np.eye(4)))).notes == finder.notes


def test_weights_that_no_validation_has_measured_say_so_with_their_points(bundle):
    finder = LandmarkDetector.from_bundle(bundle)
    data = np.random.default_rng(0).random((20, 18, 16))
    found = finder.detect(Volume(data, Grid((20, 18, 16), np.eye(4))))
    note, _ = found.notes
    assert note.startswith("no validation that found most landmarks has calibrated it: no errors are expected")
    assert found.error_mm is None or np.isnan(found.error_mm).all()


def test_a_bundle_may_keep_its_files_under_configs_and_lack_metadata(bundle):
    (bundle / "configs").mkdir()
    (bundle / "inference.json").rename(bundle / "configs" / "inference.json")
    (bundle / "metadata.json").unlink()
    assert LandmarkDetector.from_bundle(str(bundle)).version == ""


def test_a_checkpoint_of_a_whole_training_is_taken_too(bundle):
    state = {"network": tiny_network().state_dict(), "epoch": 3}
    torch.save(state, bundle / "models" / "model.pt")
    LandmarkDetector.from_bundle(bundle)


def test_a_slip_in_a_bundles_configuration_is_named(bundle):
    config = tiny_config()
    config["detector"]["tolerance"] = 2.0
    (bundle / "inference.json").write_text(json.dumps(config), encoding="utf-8")
    text = r"inference.json: detector: LandmarkDetector has no argument 'tolerance'; did you mean 'tolerance_mm'\?"
    with pytest.raises(InputError, match=text) as caught:
        LandmarkDetector.from_bundle(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "value", "text"),
    [
        ("window", "bright", "LandmarkDetector: window cannot be 'bright'; it takes Window"),
        ("window", {"low": 0, "high": 1}, "LandmarkDetector: window cannot be an object of JSON"),
        ("names", "ab", "LandmarkDetector: names cannot be 'ab'; it takes Sequence"),
        ("spacing_mm", -1.0, "sides must be three of at least 1 voxel, spacing_mm above 0"),
        ("sides", [10**6, 10**6, 10**6], "sides must be three of at least 1 voxel"),
        ("sides", [8, 8], "sides must be three of at least 1 voxel"),
        (
            "network",
            {"_target_": "lmk3d.pages.server.PageServer", "page": ""},
            "PageServer' is no component of a bundle",
        ),
        (
            "levels",
            [{"_target_": "lmk3d.inference.Level", "spacing_mm": 1, "size": 10**9}],
            "cannot be 1, 1000000000, 1",
        ),
        (
            "levels",
            [{"_target_": "lmk3d.inference.Level", "spacing_mm": 1, "size": 8, "passes": 10**9}],
            "1, 8, 1000000",
        ),
    ],
)
def test_what_no_detector_can_be_made_of_is_named(bundle, entry, value, text):
    config = tiny_config()
    config["detector"][entry] = value
    (bundle / "inference.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match=text) as caught:
        LandmarkDetector.from_bundle(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("detector", [{"network": "@network_def"}, "@names", None, 3])
def test_a_detector_that_is_none_is_named(bundle, detector):
    (bundle / "inference.json").write_text(json.dumps({**tiny_config(), "detector": detector}), encoding="utf-8")
    with pytest.raises(InputError, match=r"detector: is none; give it _target_: lmk3d\.inference\.LandmarkDetector"):
        LandmarkDetector.from_bundle(bundle)


class Touch:
    """Runs code when it is unpickled, as any pickle can."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "b")


def saved(content):
    return lambda path: torch.save(content, path)


# How to spoil a good checkpoint; those with code try to make the folder "run" beside it.
SPOILERS = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("these are no weights\n" * 20, encoding="utf-8"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
    "zip": write_zip,
    "code": lambda path: torch.save({"network": tiny_network().state_dict(), "more": Touch(path.parent / "run")}, path),
    "raw code": lambda path: path.write_bytes(pickle.dumps(Touch(path.parent / "run"), protocol=2)),
    "new code": lambda path: path.write_bytes(pickle.dumps(Touch(path.parent / "run"), protocol=5)),
    "module": lambda path: torch.save(tiny_network(), path),
    "list": saved([torch.zeros(2)]),
    "numbers": saved({"a": 1}),
    "nan": lambda path: torch.save({name: value * np.nan for name, value in tiny_network().state_dict().items()}, path),
    "width": saved(Cascade(HeatmapUNet(2, channels=(6, 8)), [], num_landmarks=2).state_dict()),
    "other": saved(nn.Linear(2, 2).state_dict()),
}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("missing", "model.pt: no such file; train the bundle first"),
        ("empty", "model.pt: is corrupt, or no checkpoint at all; give a checkpoint of tensors"),
        ("text", "model.pt: is corrupt, or no checkpoint at all"),
        ("truncated", "model.pt: is corrupt, or no checkpoint at all"),
        ("garbage", "model.pt: is corrupt, or no checkpoint at all"),
        ("zip", "model.pt: is corrupt, or no checkpoint at all"),
        ("code", "model.pt: holds pickled code, which is never run; give a checkpoint of tensors"),
        ("raw code", "model.pt: holds pickled code, which is never run"),
        ("new code", "model.pt: holds pickled code, which is never run"),
        ("module", "model.pt: holds pickled code, which is never run"),
        ("list", "model.pt: holds no weights"),
        ("numbers", "model.pt: holds no weights"),
        ("nan", "model.pt: holds weights that are NaN or infinite; its training has failed, train again"),
        ("width", "model.pt: does not fit the network of its bundle's configuration: "),
        ("other", "model.pt: does not fit the network of its bundle's configuration: Missing key"),
    ],
)
def test_checkpoints_it_cannot_use_are_refused_in_one_line(bundle, kind, text):
    SPOILERS[kind](bundle / "models" / "model.pt")
    with pytest.raises(InputError, match=text) as caught:
        LandmarkDetector.from_bundle(bundle)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert not (bundle / "models" / "run").exists()  # nothing in the file was run


def test_a_folder_that_is_no_bundle_is_named(tmp_path):
    with pytest.raises(InputError, match=r"inference.json: no such file; give the folder of a bundle"):
        LandmarkDetector.from_bundle(tmp_path)


def test_shipped_bundles_are_found_by_name():
    assert (default_bundle() / "inference.json").is_file()
    assert default_bundle("cascade") == default_bundle()
    with pytest.raises(InputError, match=r"no bundle 'cascad' is shipped; did you mean 'cascade'\?"):
        default_bundle("cascad")
    with pytest.raises(InputError, match=r"no bundle 'zzz' is shipped; known are .*cascade"):
        default_bundle("zzz")


class SayHeights(nn.Module):
    """A first stage that has maps of heights already: the image itself, once for each landmark."""

    divisor = 8

    def forward(self, image):
        return torch.cat([image, 0.5 * image], dim=1)


def flat_film(points_mm, heights):
    grid = Grid.around([3.0, 2, 0], (64, 48, 1), 1.0)
    return draw(grid, points_mm, heights, sigma_mm=2.5)


def film_detector(codec, *, min_presence=0.3, **options):
    network = Cascade(FlatDepth(SayHeights()), [], num_landmarks=2)
    settings = {"names": ("bright", "dim"), "window": Window(0, 100), "spacing_mm": 1.0, "levels": []}
    return LandmarkDetector(network, codec=codec, min_presence=min_presence, **settings, **options)


@pytest.mark.parametrize("sliding", [None, (32, 32, 1)])
def test_a_name_may_have_several_points_or_none(sliding):
    points = np.array([[-15.0, -10, 0], [10.0, 12, 0], [22.0, -8, 0]]) + np.array([3.0, 2, 0])
    codec = HeatmapCodec(sigma_vox=2.5, reading="heights", instances=5, num_peaks=6, separation=3)
    found = film_detector(codec, sliding=sliding).detect(flat_film(points, (1.0, 0.8, 0.5)))
    # The second landmark's map is half as high: 0.5, 0.4, 0.25.
    assert found.names == ("bright",) * 3 + ("dim",) * 2
    assert_allclose(found["bright"], points, atol=0.2)
    assert_allclose(found["dim"], points[:2], atol=0.2)
    assert_allclose(found.confidence, [1.0, 0.8, 0.5, 0.5, 0.4], atol=0.05)
    none = film_detector(codec, min_presence=0.6, sliding=sliding).detect(flat_film(points, (1.0, 0.8, 0.5)))
    assert none.names == ("bright", "bright", "dim")
    assert_array_equal(none.present, [True, True, False])
    assert none.confidence[2] == pytest.approx(0.5, abs=0.03)


def test_no_more_points_of_a_name_are_said_than_there_may_be():
    points = np.array([[-15.0, -10, 0], [10.0, 12, 0], [22.0, -8, 0]]) + np.array([3.0, 2, 0])
    codec = HeatmapCodec(sigma_vox=2.5, reading="heights", instances=2, separation=3)
    found = film_detector(codec, min_presence=0.0).detect(flat_film(points, (1.0, 0.8, 0.5)))
    assert found.names == ("bright",) * 2 + ("dim",) * 2


class DenseStage(nn.Module):
    """A perfect dense map of a square whose brightness codes u, whatever part of the film it sees."""

    divisor = 8

    def forward(self, image):
        return torch.cat([40 * (image > 0.25) - 20, 4 * image - 3, 0 * image], dim=1)


@pytest.mark.parametrize("sliding", [None, (32, 32, 1)])
def test_dense_maps_are_read_at_once_or_window_by_window(sliding):
    codec = DenseCodec(("a", "b", "c"), {"one": ["a", "b", "c"]}, neighbours=1)
    network = Cascade(FlatDepth(DenseStage()), [], num_landmarks=3)
    network.mean_shape.copy_(torch.tensor([[0.0, 0, 0], [20, 10, 0], [10, -10, 0]]))
    data = np.zeros((64, 48, 1), np.float32)
    data[20:40, 14:35, 0] = np.linspace(0.5, 1.0, 21)
    volume = Volume(data, Grid.around([3.0, 2, 0], (64, 48, 1), 2.0))
    found = LandmarkDetector(
        network, names=tuple("abc"), window=Window(0, 1), codec=codec, spacing_mm=2.0, levels=[], sliding=sliding
    )
    points = volume.grid.to_vox(found.detect(volume).points_mm)
    assert_allclose(points[:, 1], [14, 34, 24], atol=0.51)  # u of -1, 1 and 0 along the columns
    assert ((points[:, 0] > 19) & (points[:, 0] < 40)).all()
    masks = found.detect_masks(volume)
    assert masks["one"].shape == data.shape
    assert masks["one"].sum() == pytest.approx(20 * 21, rel=0.1)


def test_outlines_are_compared_with_the_contour_of_the_truth():
    codec = DenseCodec(("a", "b", "c", "d"), {"one": ["a", "b", "c", "d"]})
    network = Cascade(FlatDepth(DenseStage()), [], num_landmarks=4)
    data = np.zeros((64, 48, 1), np.float32)
    data[20:40, 14:34, 0] = 1
    volume = Volume(data, Grid.around([3.0, 2, 0], (64, 48, 1), 2.0))
    found = LandmarkDetector(network, names=tuple("abcd"), window=Window(0, 1), codec=codec, spacing_mm=2.0, levels=[])
    corners = np.array([[19.5, 13.5, 0], [19.5, 33.5, 0], [39.5, 33.5, 0], [39.5, 13.5, 0]])
    truth = Landmarks(tuple("abcd"), volume.grid.to_mm(corners))
    (own,) = found.compare_masks(volume, truth).values()
    assert own["dice"] == pytest.approx(1.0)
    assert own["asd"] == pytest.approx(0.0)
    shifted = Landmarks(tuple("abcd"), volume.grid.to_mm(corners + np.array([0, 10, 0])))
    assert found.compare_masks(volume, shifted)["one"]["dice"] == pytest.approx(0.5)  # half of it overlaps
    assert found.compare_masks(volume, Landmarks(("a",), [[1.0, 2, 3]])) == {}
    assert detector(2).compare_masks(volume, truth) == detector(2).detect_masks(volume) == {}
