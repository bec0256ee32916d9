"""Scans that show no landmark though they are images: other things, other values, wrongly laid or shuffled bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmk3d.geometry import Grid, Volume
from lmk3d.synthetic.draws import rotation
from lmk3d.synthetic.render import Scene, render
from lmk3d.synthetic.shapes import Ellipsoid, Shape, Tube

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.draws import Draws

    FloatArray = NDArray[np.float64]

__all__ = ["draw_object", "misplaced", "revalued", "shuffled"]


def draw_object(draws: Draws, spacing_mm: float) -> Volume:
    """Ellipsoids, shells and tubes of any HU before an even background: a specimen, a phantom, an animal's skull.

    Args:
        draws: random numbers.
        spacing_mm: of the voxels.
    """
    sides = draws.uniform(60.0, 330.0) * draws.uniform(0.6, 1.0, (3,))
    back = (-1000.0, 0.0, draws.uniform(-1000.0, 300.0))[int(draws.uniform(0, 3))]
    level, width = draws.uniform(-100.0, 500.0), draws.uniform(50.0, 900.0)
    shapes: list[Shape] = []
    for index in range(int(draws.uniform(4, 60))):
        size = (0.45 if index < 3 else draws.uniform(0.02, 0.25)) * sides.min() * draws.uniform(0.4, 1.0, (3,))
        hu, middle = draws.near(level, width), draws.jitter(0.35) * sides * (index > 0)
        if draws.chance(0.3):
            line = middle + draws.jitter(0.3, (4, 3)) * sides
            shapes.append(Tube(hu, line, np.full(4, 0.3 * size.min())))
        else:
            shell = draws.uniform(1.0, 5.0) if draws.chance(0.4) else 0.0
            shapes.append(Ellipsoid(hu, middle, draws.tilt(180.0), size, shell_mm=shell))
    count = [int(side) for side in np.maximum(8, np.ceil(sides / spacing_mm))]
    return render(Scene(tuple(shapes), back), Grid.around(np.zeros(3), count, spacing_mm, draws.tilt(20.0)))


def misplaced(draws: Draws, volume: Volume) -> Volume:
    """A body whose file says wrongly how it lies or how large it is: upside down, turned, mirrored, half or twice."""
    kind = int(draws.uniform(0, 8))
    size = draws.uniform(1.75, 2.6) if draws.chance(0.5) else draws.uniform(0.25, 0.55)
    change = (
        np.diag([1.0, 1.0, -1.0]), rotation(0, 0, 180), rotation(0, 180, 0), rotation(180, 0, 0),
        rotation(90.0 if draws.chance(0.5) else -90.0, 0, 0), rotation(0, 0, 90.0 if draws.chance(0.5) else -90.0),
        np.diag([-1.0, 1.0, 1.0]), size * np.eye(3),
    )[kind]  # fmt: skip
    affine = np.eye(4)
    affine[:3, :3], centre = change, volume.grid.center_mm
    affine[:3, 3] = centre - change @ centre
    return Volume(volume.data, Grid(volume.grid.shape, affine @ volume.grid.affine))


def revalued(draws: Draws, volume: Volume) -> Volume:
    """A body whose numbers are no HU: shifted by 1000, inverted, stretched to 8 bits, or weighed as in an MR image."""
    hu, kind = volume.data.astype(np.float32), int(draws.uniform(0, 4))
    if kind == 0:
        values = hu + draws.uniform(700.0, 1300.0)
    elif kind == 1:
        values = draws.uniform(-300.0, 1000.0) - hu
    elif kind == 2:
        low, high = draws.uniform(-1000.0, -100.0), draws.uniform(300.0, 1500.0)
        values = draws.uniform(150.0, 1000.0) * np.clip((hu - low) / (high - low), 0, 1)
    else:
        knots = np.array([-1024.0, -800, -250, -90, 20, 70, 150, 400, 1200, 3071])
        levels = draws.uniform(0.0, draws.uniform(150.0, 1200.0), (10,))
        levels[0] *= 0.05
        values = np.interp(hu, knots, levels).astype(np.float32)
    return Volume(np.rint(np.clip(values, -1024, 3071)).astype(np.int16), volume.grid)


def shuffled(draws: Draws, volume: Volume) -> Volume:
    """The voxels of a body in another order, singly or in blocks."""
    side = (1, 4, 8, 12)[int(draws.uniform(0, 4))]
    counts = [length // side for length in volume.data.shape]
    if min(counts) < 2:
        side, counts = 1, list(volume.data.shape)
    part = volume.data[tuple(slice(0, count * side) for count in counts)]
    blocks = part.reshape(counts[0], side, counts[1], side, counts[2], side).transpose(0, 2, 4, 1, 3, 5)
    mixed = blocks.reshape(-1, side, side, side)[draws.order(int(np.prod(counts)))]
    mixed = mixed.reshape(*counts, side, side, side).transpose(0, 3, 1, 4, 2, 5).reshape(part.shape)
    return Volume(np.ascontiguousarray(mixed), Grid(part.shape, volume.grid.affine))
