"""What a scanner adds to an image: noise of any grain, streaks, rings, shading, a round field of view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmk3d.geometry import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lmk3d.geometry import Grid
    from lmk3d.synthetic.draws import Draws

    FloatArray = NDArray[np.float64]
    Field = NDArray[np.float32]

__all__ = ["scanned"]

_AIR_HU = -1024.0


def scanned(volume: Volume, draws: Draws, metal_mm: Sequence[FloatArray] = ()) -> Volume:
    """An image with the faults of a scanner.

    Args:
        volume: HU without noise.
        draws: random numbers.
        metal_mm: (3,) world points that streaks start from.
    Returns:
        int16 HU in [-1024, 3071].
    """
    grid, image = volume.grid, volume.data.astype(np.float32)
    image += draws.uniform(0.0, 0.16) * np.clip(image + 100, 0, 500) * _cloud(draws, grid, 28.0)
    image += draws.uniform(0.0, 14.0) * _cloud(draws, grid, 90.0)
    image += _noise(draws, grid)
    if draws.chance(0.15):
        image += _starvation(draws, grid)
    if draws.chance(0.1):
        image += _rings(draws, grid)
    for point in list(metal_mm)[:3]:
        image += _streaks(draws, grid, point)
    if draws.chance(0.15):
        image[_beside_axis(grid) > draws.uniform(0.42, 0.6) * _diameter(grid)] = _AIR_HU
    top = 3071.0 if draws.chance(0.8) else draws.uniform(1200.0, 2500.0)
    low = _AIR_HU if draws.chance(0.7) else draws.uniform(-1024.0, -980.0)
    return Volume(np.rint(np.clip(image, low, top)).astype(np.int16), grid)


def _upwards(grid: Grid) -> int:
    """The axis of the grid along which the table moves: that nearest to S."""
    return int(np.abs(grid.axes[2]).argmax())


def _from_axis(grid: Grid, point_mm: FloatArray) -> tuple[Field, Field, Field]:
    """Distances from a point along the two axes of a slice and along the table, each ready to broadcast."""
    up = _upwards(grid)
    first, second = (axis for axis in range(3) if axis != up)
    place = grid.to_vox(point_mm[None])[0]
    lines = []
    for axis in (first, second, up):
        line = (np.arange(grid.shape[axis]) - place[axis]) * grid.spacing_mm[axis]
        lines.append(line.reshape([-1 if own == axis else 1 for own in range(3)]).astype(np.float32))
    return lines[0], lines[1], lines[2]


def _beside_axis(grid: Grid) -> Field:
    """Distance of each voxel's column from the middle of its slice, of one slice's shape."""
    x, y, _ = _from_axis(grid, grid.center_mm)
    return np.asarray(np.broadcast_to(np.sqrt(x**2 + y**2), grid.shape))


def _diameter(grid: Grid) -> float:
    return float(max(side for axis, side in enumerate(grid.sides_mm) if axis != _upwards(grid)))


def _cloud(draws: Draws, grid: Grid, grain_mm: float) -> Field:
    """A smooth random field between about -1 and 1 whose spots are as large as ``grain_mm``."""
    counts = [max(2, int(np.ceil(side / grain_mm)) + 1) for side in grid.sides_mm]
    cloud = np.asarray(draws.uniform(-1.0, 1.0, (counts[0], counts[1], counts[2])), dtype=np.float32)
    for axis, count in enumerate(counts):
        places = np.linspace(0, count - 1, grid.shape[axis])
        weights = np.maximum(0.0, 1 - np.abs(places[:, None] - np.arange(count))).astype(np.float32)
        cloud = np.moveaxis(np.tensordot(weights, cloud, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(cloud)


def _noise(draws: Draws, grid: Grid) -> Field:
    """Noise of a drawn strength, part of it as fine as the voxels, part coarser, as a smooth kernel leaves it."""
    strength, coarse = 5.0 * np.exp(draws.uniform(0.0, np.log(12.0))), draws.uniform(0.0, 0.9)
    grain = draws.uniform(1.5, 3.0) * float(grid.spacing_mm.min())
    noise = np.float32(strength * (1 - coarse)) * draws.noise(grid.shape)
    if coarse > 0.3:
        noise += np.float32(1.7 * strength * coarse) * _cloud(draws, grid, grain)
    return noise


def _starvation(draws: Draws, grid: Grid) -> Field:
    """Streaks from side to side, as behind shoulders and hips of a scan with too little dose."""
    lateral, up = int(np.abs(grid.axes[0]).argmax()), _upwards(grid)
    shape = [1 if axis == lateral else side for axis, side in enumerate(grid.shape)]
    streaks = draws.noise((shape[0], shape[1], shape[2])) * np.float32(draws.uniform(10.0, 60.0))
    where = draws.uniform(0.0, 1.0)
    line = np.abs(np.linspace(0, 1, grid.shape[up]) - where)
    return streaks * np.maximum(0, 1 - line / 0.3).reshape([-1 if axis == up else 1 for axis in range(3)]).astype("f4")


def _rings(draws: Draws, grid: Grid) -> Field:
    """Rings about the middle of the slices, as of a detector that is out of order."""
    wave, strength = draws.uniform(2.0, 8.0), draws.uniform(4.0, 25.0)
    return np.asarray(strength * np.sin(2 * np.pi / wave * _beside_axis(grid)), dtype=np.float32)


def _streaks(draws: Draws, grid: Grid, point_mm: FloatArray) -> Field:
    """Bright and dark rays from a piece of metal, in the slices that it lies in."""
    x, y, z = _from_axis(grid, point_mm)
    rays, phase, strength = int(draws.uniform(3, 9)), draws.uniform(0, 6.28), draws.uniform(30.0, 350.0)
    reach = draws.uniform(15.0, 60.0)
    near = np.abs(z) < draws.uniform(6.0, 25.0)
    away = np.sqrt(x**2 + y**2)
    rays_hu = strength * np.cos(rays * np.arctan2(y, x + 1e-6) + phase) * np.exp(-away / reach)
    return np.asarray(rays_hu * near, dtype=np.float32)
