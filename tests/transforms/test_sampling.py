"""Cutting posed grids out of volumes: against NumPy, SciPy, SimpleITK, and by hand."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.testing import assert_close

from lmk3d.geometry import LPS_TO_RAS, Grid, Volume
from lmk3d.transforms.intensity import Window
from lmk3d.transforms.sampling import (
    Waves,
    block_factors,
    block_means,
    cut_patches,
    patch_grid,
    resample,
    stored_tensor,
)


def voxels_of(target, grid):
    """(I, J, K, 3) voxels of ``grid`` at which each voxel of ``target`` lies."""
    steps = np.stack(np.meshgrid(*[np.arange(side) for side in target.shape], indexing="ij"), axis=-1)
    return grid.to_vox(target.to_mm(steps))


def noise(shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).normal(size=shape), dtype=torch.float32)


def test_block_means_agree_with_numpy():
    data = np.random.default_rng(0).integers(-1000, 2000, size=(11, 9, 8), dtype=np.int16)
    expected = data[:10, :9, :8].reshape(5, 2, 3, 3, 2, 4).astype(float).mean((1, 3, 5))
    assert_allclose(block_means(torch.from_numpy(data), (2, 3, 4)).numpy(), expected, rtol=1e-6, atol=1e-3)
    assert_array_equal(block_means(torch.from_numpy(data), (1, 1, 1)).numpy(), data)
    assert block_means(torch.from_numpy(data), (1, 1, 1)).dtype == torch.float32


@pytest.mark.parametrize("order", ["C", "F"])
def test_block_means_are_the_same_slab_by_slab_in_any_memory_order(monkeypatch, order):
    data = np.random.default_rng(1).normal(size=(12, 10, 9)).astype(np.float32)
    whole = block_means(torch.from_numpy(data), (2, 5, 3))
    monkeypatch.setattr("lmk3d.transforms.sampling._SLAB_VOXELS", 1)
    slabs = block_means(torch.from_numpy(np.asarray(data, order=order)), (2, 5, 3))
    assert_close(slabs, whole)
    assert slabs.is_contiguous()


def test_a_block_lies_half_its_side_in(draw_blob, find_blob):
    grid = Grid.around([3.0, -4, 5], (40, 36, 32), (1.0, 1.5, 2.0))
    point = [4.3, -2.6, 6.1]
    coarse = grid.coarsened((3, 2, 2))
    means = block_means(draw_blob(grid, point, sigma_mm=4.0), (3, 2, 2))
    assert means.shape == coarse.shape
    assert_allclose(find_blob(means), coarse.to_vox(point), atol=0.01)
    # The origin of the fine grid, kept, would put the point (factor - 1) / 2 fine voxels off.
    assert_allclose(grid.to_vox(point) / [3, 2, 2] - coarse.to_vox(point), [1 / 3, 1 / 4, 1 / 4])


def test_block_factors_come_nearest_to_the_spacing():
    assert block_factors(Grid((9, 9, 9), np.diag([0.5, 1.0, 3.0, 1.0])), 1.6) == (3, 2, 1)
    assert block_factors(Grid((2, 9, 1), np.diag([0.1, 0.1, 0.1, 1.0])), 1.6) == (2, 9, 1)  # no more than there are
    assert block_factors(Grid((9, 9, 9), np.eye(4)), 0.2) == (1, 1, 1)


@pytest.mark.parametrize("seed", range(6))
def test_resampling_agrees_with_scipy(draw_grid, seed):
    ndimage = pytest.importorskip("scipy.ndimage")
    generator = np.random.default_rng(seed)
    grid = draw_grid(generator, shape=(14, 11, 9), spacing_mm=(0.8, 1.3))
    target = draw_grid(generator, shape=(12, 13, 10), spacing_mm=(0.8, 1.1))  # some of it lies outside
    target = Grid.around(
        grid.center_mm + generator.uniform(-3, 3, size=3), target.shape, target.spacing_mm, target.axes
    )
    data = noise(grid.shape, seed)
    found = resample(data, grid, target, fill=-2.0)
    places = voxels_of(target, grid).reshape(-1, 3).T
    # A voxel reaches to its face and fades to the fill over the next half, which SciPy calls "grid-constant".
    expected = ndimage.map_coordinates(data.numpy(), places, order=1, mode="grid-constant", cval=-2.0)
    assert_allclose(found.numpy(), expected.reshape(target.shape), atol=2e-4)
    assert (found == -2.0).any()


def test_resampling_to_a_coarser_grid_is_that_of_the_block_means(draw_grid):
    generator = np.random.default_rng(7)
    grid = draw_grid(generator, shape=(31, 29, 30), spacing_mm=(0.5, 0.6))
    target = Grid.around(grid.center_mm, (6, 7, 5), 1.3, draw_grid(generator).axes)
    factors = block_factors(grid, 1.3)
    assert factors == (2, 2, 2)
    data = noise(grid.shape)
    coarse = resample(block_means(data, factors), grid.coarsened(factors), target, fill=0.0)
    assert_close(resample(data, grid, target, fill=0.0), coarse, rtol=0, atol=1e-4)


def test_resampling_agrees_with_simpleitk(draw_grid):
    sitk = pytest.importorskip("SimpleITK")
    generator = np.random.default_rng(8)
    for _ in range(5):
        grid = draw_grid(generator, shape=(24, 20, 22), spacing_mm=(0.8, 1.5))
        target = Grid.around(
            grid.center_mm + generator.uniform(-2, 2, size=3), (6, 5, 7), 0.9, draw_grid(generator).axes
        )
        data = noise(grid.shape)
        images = []
        for one in (grid, target):
            image = sitk.GetImageFromArray(np.zeros(one.shape[::-1], np.float32))
            lps = LPS_TO_RAS @ one.affine
            image.SetOrigin(lps[:3, 3].tolist())
            image.SetSpacing(one.spacing_mm.tolist())
            image.SetDirection((lps[:3, :3] / one.spacing_mm).ravel().tolist())
            images.append(image)
        moving = sitk.GetImageFromArray(data.numpy().transpose(2, 1, 0).copy())
        moving.CopyInformation(images[0])
        expected = sitk.Resample(moving, images[1], sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        found = resample(data, grid, target, fill=0.0)
        assert_allclose(found.numpy(), sitk.GetArrayFromImage(expected).transpose(2, 1, 0), atol=2e-4)


def test_a_patch_and_the_whole_give_the_same_numbers():
    grid = Grid.around([0, 0, 0], (37, 41, 39), 0.5)
    data = noise(grid.shape)
    target = Grid.around(
        [0.2, 0.1, -0.3], (14, 15, 13), 1.1, np.linalg.qr(np.random.default_rng(9).normal(size=(3, 3)))[0]
    )
    whole = resample(data, grid, target, fill=0.0)
    part = resample(data, grid, target.cropped((4, 5, 3), (5, 4, 6)), fill=0.0)
    assert_close(part, whole[4:9, 5:9, 3:9], rtol=0, atol=1e-4)


def test_a_grid_on_itself_gives_the_volume_back():
    grid = Grid((5, 4, 3), np.array([[0, -2.0, 0, 7], [1.5, 0, 0, 8], [0, 0, 1, 9], [0, 0, 0, 1]]))
    data = torch.arange(60, dtype=torch.int16).reshape(5, 4, 3)
    assert_close(resample(data, grid, grid, fill=-1.0), data.float(), rtol=0, atol=1e-4)


def test_far_outside_everything_is_fill():
    grid = Grid((5, 4, 3), np.eye(4))
    found = resample(torch.ones(5, 4, 3), grid, Grid.around([100.0, 0, 0], (2, 3, 2), 1.0), fill=-7.0)
    assert_close(found, torch.full((2, 3, 2), -7.0))


def test_a_film_is_sampled_in_its_plane():
    grid = Grid((6, 5, 1), np.eye(4))
    data = torch.arange(30.0).reshape(6, 5, 1)
    found = resample(data, grid, grid.cropped((1, 1, 0), (4, 3, 1)), fill=0.0)
    assert_close(found, data[1:5, 1:4])
    between = Grid((4, 3, 1), np.array([[1, 0, 0, 1.5], [0, 1, 0, 1.0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    assert_close(resample(data, grid, between, fill=0.0), data[1:5, 1:4] + 2.5)


def test_patches_are_scaled_windows_of_the_volume():
    grid = Grid.around([0, 0, 0], (20, 20, 20), 1.0)
    data = (100 * noise(grid.shape)).to(torch.int16)
    targets = [patch_grid(grid, np.array(center), np.eye(3), 4, 1.0) for center in ([0.5, 0.5, 0.5], [-3.0, 2.0, 1.0])]
    patches = cut_patches(data, grid, targets, Window(-50, 150), (-50, 150))
    assert patches.shape == (2, 4, 4, 4)
    # Middle at world 0.5, so at voxel 10: the patch's voxels lie halfway between voxels 8 to 12.
    means = data.float().unfold(0, 2, 1).unfold(1, 2, 1).unfold(2, 2, 1).mean((3, 4, 5))
    assert_close(patches[0], ((means[8:12, 8:12, 8:12] + 50) / 200).clamp(0, 1), rtol=0, atol=1e-5)


def test_a_patch_has_the_size_and_side_of_its_pose():
    turn = np.linalg.qr(np.random.default_rng(10).normal(size=(3, 3)))[0]
    volume = Grid.around([0, 0, 0], (9, 9, 9), 1.0)
    grid = patch_grid(volume, np.array([1.0, 2, 3]), 1.2 * turn, 5, 0.5)
    assert_allclose(grid.center_mm, [1, 2, 3])
    assert_allclose(grid.spacing_mm, 0.6)
    assert_allclose(grid.axes, turn, atol=1e-12)
    assert patch_grid(Grid((9, 9, 1), np.eye(4)), np.zeros(3), np.eye(3), 5, 0.5).shape == (5, 5, 1)
    mirrored = patch_grid(volume, np.zeros(3), np.diag([-1.2, 1.2, 1.2]), 5, 0.5)
    assert_allclose(mirrored.axes, np.diag([-1, 1, 1]), atol=1e-12)


@pytest.mark.parametrize("slope", [0.4, 0.95])
def test_waves_are_inverted_to_a_millionth_of_a_millimetre(slope):
    generator = np.random.RandomState(0)
    amplitude = slope * 20.0 / (2 * np.pi * np.sqrt(6))  # the steepest that RandWavesd lets through
    points = generator.uniform(-80, 80, size=(200, 3))
    points[3] = np.nan
    for _ in range(20):
        waves = Waves.drawn(generator, amplitude_mm=amplitude, wavelength_mm=20.0)
        back = waves(torch.as_tensor(waves.inverse(points))).numpy()
        assert_allclose(back, points, atol=1e-6)
        assert np.isnan(waves.inverse(points)[3]).all()


def test_one_wave_by_hand():
    waves = Waves(np.array([[np.pi, 0, 0]]), np.array([[0, 0.1, 0]]), np.zeros(1))  # along R, moving along A
    assert_close(waves(torch.tensor([0.5, 1.0, 2.0])), torch.tensor([0.5, 1.1, 2.0]))  # sin(pi / 2) = 1
    assert_allclose(waves.inverse(np.array([[0.5, 1.1, 2.0]])), [[0.5, 1.0, 2.0]])


def test_drawn_waves_keep_their_bounds():
    generator = np.random.RandomState(1)
    for _ in range(50):
        waves = Waves.drawn(generator, amplitude_mm=2.0, wavelength_mm=30.0)
        lengths = 2 * np.pi / np.linalg.norm(waves.vectors, axis=1)
        assert lengths.min() >= 30
        assert lengths.max() <= 60
        assert np.linalg.norm(waves.amplitudes_mm) <= 2.0


def test_waves_within_a_film_move_nothing_out_of_it():
    waves = Waves.drawn(np.random.RandomState(2), amplitude_mm=2.0, wavelength_mm=30.0)
    normal = np.array([0.6, 0.0, 0.8])
    points = np.random.default_rng(3).uniform(-50, 50, size=(20, 3))
    moved = waves.within(normal).inverse(points) - points
    assert_allclose(moved @ normal, 0, atol=1e-8)
    assert np.abs(moved).max() > 0.1


def test_waves_that_fold_the_image_are_refused():
    waves = Waves(np.array([[2.0, 0, 0]]), np.array([[3.0, 0, 0]]), np.zeros(1))
    with pytest.raises(ValueError, match="the waves fold the image"):
        waves.inverse(np.array([[1.0, 0, 0]]))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("<i2", torch.int16),
        (">i2", torch.int16),
        ("<u2", torch.uint16),
        (">u2", torch.uint16),
        (">u4", torch.float32),
        ("u8", torch.float32),
        ("u1", torch.uint8),
        (">f4", torch.float32),
        ("f8", torch.float64),
    ],
)
def test_stored_numbers_of_every_type_become_tensors(dtype, expected):
    data = np.arange(24).reshape(2, 3, 4).astype(dtype)
    tensor = stored_tensor(Volume(data, Grid((2, 3, 4), np.eye(4))))
    assert tensor.dtype == expected
    assert_array_equal(tensor.numpy(), np.arange(24).reshape(2, 3, 4))


def test_stored_tensors_share_the_volumes_memory_and_order():
    for order in ("C", "F"):
        data = np.zeros((4, 3, 2), np.int16, order=order)
        tensor = stored_tensor(Volume(data, Grid((4, 3, 2), np.eye(4))))
        data[1, 2, 1] = 9
        assert tensor[1, 2, 1] == 9


def test_awkward_memory_is_copied_and_read_only_memory_is_not_written_to():
    flipped = np.arange(24, dtype=np.int16).reshape(4, 3, 2)[::-1]
    assert_array_equal(stored_tensor(Volume(flipped, Grid((4, 3, 2), np.eye(4)))).numpy(), flipped)
    locked = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    locked.flags.writeable = False
    assert_array_equal(stored_tensor(Volume(locked, Grid((4, 3, 2), np.eye(4)))).numpy(), locked)
