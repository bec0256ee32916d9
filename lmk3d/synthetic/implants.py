"""What doctors left in a body: sternal wires, a pacemaker, valve rings, spinal rods, hip joints, tubes and clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.bones import SIDES, tube
from lmk3d.synthetic.shapes import Ellipsoid, Shape, Tube, curve, unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lmk3d.synthetic.bones import Spine
    from lmk3d.synthetic.draws import Draws

    FloatArray = NDArray[np.float64]

__all__ = ["Body", "draw_implants"]


@dataclass(frozen=True)
class Body:
    """Where things are in a body before its pose, R, A, S in mm.

    Args:
        spine: the spine, whose scale is the body's.
        apex: (3,) apex of the heart.
        valve: (3,) centre of the aortic annulus.
        fork: (3,) aortic bifurcation.
    """

    spine: Spine
    apex: FloatArray
    valve: FloatArray
    fork: FloatArray


def draw_implants(draws: Draws, body: Body) -> list[Shape]:
    """Draw none to several implants, to be painted over everything else."""
    shapes: list[Shape] = []
    for chance, make in _KINDS:
        if draws.chance(chance):
            shapes += make(draws, body)
    return shapes


def _ring(hu: float, middle: FloatArray, up: FloatArray, radius: float, thick: float) -> Tube:
    """A ring about a point, across a direction."""
    side = unit(np.cross(up, np.array([0.3, 0.9, 0.2])))
    angles = np.linspace(0, 2 * np.pi, 19)[:, None]
    points = middle + radius * (np.cos(angles) * side + np.sin(angles) * np.cross(up, side))
    return Tube(hu, points, np.full(19, thick))


def _wires(draws: Draws, body: Body) -> list[Shape]:
    """Steel loops about the sternum."""
    scale = body.spine.scale
    heights = np.linspace(60, -40, int(draws.uniform(4, 8)))
    rings: list[Shape] = []
    for height in heights:
        middle = (np.array([0.0, np.interp(height, [-50, 60], [97, 82]), height]) + draws.jitter(3.0)) * scale
        rings.append(_ring(3000.0, middle, unit(np.array([0.1, 0.2, 1.0]) + draws.jitter(0.3)), 12.0, 0.7))
    return rings


def _pacemaker(draws: Draws, body: Body) -> list[Shape]:
    """A generator before the left or right shoulder, its lead through the upper caval vein to the right ventricle."""
    scale, side = body.spine.scale, -1.0 if draws.chance(0.8) else 1.0
    can = np.array([95.0 * side, 95, 70]) * scale
    ventricle = body.valve + np.array([-12.0, 20, -50]) * scale
    lead = np.stack([
        can, np.array([70.0 * side, 62, 105]) * scale, np.array([25.0, 22, 98]) * scale,
        body.valve + np.array([38.0, -12, 30]) * scale, body.valve + np.array([36.0, 2, -25]) * scale, ventricle,
    ])  # fmt: skip
    path = curve(np.column_stack([lead, np.full(6, draws.uniform(0.8, 1.6))]), 6.0)
    return [
        Ellipsoid(3000.0, can, np.eye(3), np.array([22.0, 5, 24])),
        Tube(draws.uniform(1500, 3000), path[:, :3], path[:, 3]),
    ]


def _valve(draws: Draws, body: Body) -> list[Shape]:
    """The ring of an artificial mitral valve."""
    middle = body.valve + np.array([-12.0, -14, -12]) * body.spine.scale
    way = unit(body.apex - middle)
    return [_ring(draws.uniform(900, 3000), middle, way, draws.uniform(12, 15), draws.uniform(1.0, 2.2))]


def _rods(draws: Draws, body: Body) -> list[Shape]:
    """Rods and screws along the spine."""
    spine, top = body.spine, draws.uniform(-330, 40)
    heights = np.arange(top, top + draws.uniform(60, 200), 32.0) * spine.scale[2]
    shapes: list[Shape] = []
    for side in SIDES:
        line = spine(heights) + np.array([22.0 * side, -34, 0]) * spine.scale
        shapes.append(Tube(3000.0, line, np.full(len(line), 2.8)))
        for point in line:
            screw = np.stack([point, point + np.array([-8.0 * side, 38, 0]) * spine.scale])
            shapes.append(Tube(2800.0, screw, np.array([2.8, 2.2])))
    return shapes


def _hips(draws: Draws, body: Body) -> list[Shape]:
    """One or two artificial hip joints."""
    sides = SIDES if draws.chance(0.3) else (SIDES[int(draws.chance(0.5))],)
    shapes: list[Shape] = []
    for side in sides:
        joint = body.spine(np.array([-425.0 * body.spine.scale[2]]))[0] + np.array([92.0 * side, 42, 0])
        shapes.append(Ellipsoid(3000.0, joint, np.eye(3), np.array([25.0, 25, 25])))
        stem = joint + np.array([[0, 0, 0], [32.0 * side, -4, -20], [44 * side, -6, -60], [44 * side, -6, -140]])
        shapes.append(Tube(3000.0, stem, np.array([9.0, 10, 8, 5])))
    return shapes


def _tubes(draws: Draws, body: Body) -> list[Shape]:
    """A tube through the gullet, or a catheter through the upper caval vein."""
    scale = body.spine.scale
    if draws.chance(0.5):
        heights = np.array([190.0, 100, 40, -20, -70, -100])
        line = body.spine(heights * scale[2]) + np.array([-6.0, 26, 0]) * scale
        line[-2:] += np.array([[-10.0, 14, 0], [-22, 28, 0]]) * scale
        return [Tube(draws.uniform(150, 700), line, np.full(6, 2.6))]
    neck = np.array([[30.0, 0, 180], [28, 6, 120], [32, 4, 70]]) * scale
    return [tube(draws.uniform(300, 1500), neck / scale, np.full(3, 1.3), scale)]


def _clips(draws: Draws, body: Body) -> list[Shape]:
    """Metal clips, contrast in the bowel and leads on the skin: specks anywhere in the trunk."""
    low, high = np.array([-110.0, -70, -380]), np.array([110.0, 105, 100])
    count = int(draws.uniform(2, 14))
    places = draws.uniform(low, high, (count, 3)) * body.spine.scale
    return [
        Ellipsoid(draws.uniform(600, 3000), place, draws.tilt(90.0), draws.uniform(1.0, 4.0, (3,))) for place in places
    ]


_KINDS: tuple[tuple[float, Callable[[Draws, Body], list[Shape]]], ...] = (
    (0.18, _wires), (0.15, _pacemaker), (0.08, _valve), (0.08, _rods), (0.25, _hips), (0.25, _tubes), (0.3, _clips),
)  # fmt: skip
