"""Turns a subject into Hounsfield units on a grid, slab by slab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.geometry import Grid, Volume
from lmk3d.synthetic.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.anatomy import Anatomy
    from lmk3d.synthetic.draws import Draws
    from lmk3d.synthetic.shapes import Shape

    FloatArray = NDArray[np.float64]

__all__ = ["Scene", "render"]

_SLAB_VOXELS = 4_000_000  # 16 MB of float32
_BRICK_SIDE = 128  # voxels along j and k: a brick's float32 fields stay in the processor's cache
_FINEST_SLICES = 5  # a thick slice is the mean of at most so many thin ones


@dataclass(frozen=True, eq=False)
class Scene:
    """Shapes in the order of painting, world mm, and the HU where none lies."""

    shapes: tuple[Shape, ...]
    background_hu: float


def render(
    anatomy: Anatomy | Scene, grid: Grid, *, blur_mm: float = 0.0, noise_hu: float = 0.0, draws: Draws | None = None
) -> Volume:
    """Render a subject.

    Args:
        anatomy: the subject.
        grid: where to; axes at right angles, any spacing.
        blur_mm: standard deviation of the scanner's blur, which adds to that of the voxels.
        noise_hu: standard deviation of the noise.
        draws: the noise's random numbers; needed where ``noise_hu`` is above 0.
    Returns:
        int16 HU in [-1024, 3071].
    Raises:
        ValueError: if the grid is sheared, or noise has no random numbers.
    """
    axes = grid.axes
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-6):
        raise ValueError(f"grid must have axes at right angles, got {axes.tolist()}; resample it")
    if noise_hu > 0 and draws is None:
        raise ValueError("noise_hu is above 0 but draws is None; give the noise its random numbers")
    steps = _thin_slices(grid.spacing_mm)
    fine = Grid(tuple(int(n * step) for n, step in zip(grid.shape, steps, strict=True)), _refined_affine(grid, steps))  # type: ignore[arg-type]
    # A smoothstep over a width w blurs like a kernel of variance w^2 / 20; a voxel's box has variance h^2 / 12.
    size = float(np.cbrt(fine.spacing_mm.prod()))
    edge_mm = float(np.sqrt(20 * (size**2 / 12 + blur_mm**2)))
    painter = _Painter(anatomy, fine, edge_mm)
    image = np.empty(grid.shape, dtype=np.int16)
    thick = max(1, _SLAB_VOXELS // (int(np.prod(fine.shape[1:])) * int(steps[0])))
    for first in range(0, grid.shape[0], thick):
        last = min(first + thick, grid.shape[0])
        slab = painter.paint(first * int(steps[0]), last * int(steps[0]))
        for axis, step in enumerate(steps):
            if step > 1:
                split = (*slab.shape[:axis], slab.shape[axis] // step, step, *slab.shape[axis + 1 :])
                slab = slab.reshape(split).mean(axis=axis + 1)
        if noise_hu > 0 and draws is not None:
            slab += np.float32(noise_hu) * draws.noise((last - first, *grid.shape[1:]))
        image[first:last] = np.rint(np.clip(slab, -1024, 3071))
    return Volume(image, grid)


def _thin_slices(spacing_mm: FloatArray) -> NDArray[np.int64]:
    """Into how many thin slices each axis is split, so that voxels become nearly cubes."""
    return np.clip(np.floor(spacing_mm / spacing_mm.min() + 1e-6), 1, _FINEST_SLICES).astype(np.int64)


def _refined_affine(grid: Grid, steps: NDArray[np.int64]) -> FloatArray:
    """The affine of the grid with each voxel split into ``steps``."""
    affine = np.array(grid.affine)
    affine[:3, 3] = grid.to_mm(-0.5 + 0.5 / steps)
    affine[:3, :3] /= steps
    return affine


class _Painter:
    """Paints slabs of a grid: brick by brick, each shape only where it can be."""

    def __init__(self, anatomy: Anatomy | Scene, grid: Grid, edge_mm: float) -> None:
        self.shapes, self.edge_mm, self.background = anatomy.shapes, edge_mm, anatomy.background_hu
        stop = np.array(grid.shape, dtype=np.int64)
        self.window = Window(grid.affine[:3, 3], grid.axes, grid.spacing_mm, np.zeros(3, dtype=np.int64), stop)
        spans = np.array([shape.span(grid.axes) for shape in self.shapes])
        self.low = np.maximum(spans[:, 0] - edge_mm / 2, -1e6)
        self.high = np.minimum(spans[:, 1] + edge_mm / 2, 1e6)

    def paint(self, first: int, last: int) -> NDArray[np.float32]:
        """The HU of planes ``first`` to ``last``, without noise."""
        _, rows, columns = self.window.stop
        image = np.full((last - first, rows, columns), self.background, dtype=np.float32)
        for row in range(0, rows, _BRICK_SIDE):
            for column in range(0, columns, _BRICK_SIDE):
                start = np.array([first, row, column])
                stop = np.minimum([last, row + _BRICK_SIDE, column + _BRICK_SIDE], [last, rows, columns])
                self._paint_brick(image[:, row : stop[1], column : stop[2]], self.window.part(start, stop))
        return image

    def _paint_brick(self, image: NDArray[np.float32], brick: Window) -> None:
        starts, stops = brick.boxes(self.low, self.high)
        for index in np.flatnonzero((stops > starts).all(axis=1)):
            part = brick.part(starts[index], stops[index])
            where = tuple(slice(a, b) for a, b in zip(part.start - brick.start, part.stop - brick.start, strict=True))
            self.shapes[index].paint(image[where], part, self.edge_mm)
