"""The aorta of a phantom with its branches, from the root's junction to the iliac arteries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.shapes import Ellipsoid, Shape, Tube, curve, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.arch import Arch
    from lmk3d.synthetic.bones import Spine
    from lmk3d.synthetic.draws import Draws
    from lmk3d.synthetic.tissue import Tissue
    from lmk3d.synthetic.variation import Variation

    FloatArray = NDArray[np.float64]

__all__ = ["Aorta", "draw_aorta"]

_BRANCH_STEP_MM = 2.0


@dataclass
class Aorta:
    """The arterial tree.

    Args:
        walls: what is to be painted below the blood.
        arteries: blood, then calcified plaques.
        landmarks: (3,) position of each aortic landmark.
        renal_ends: (2, 3) where the right and the left renal artery end: at the kidneys.
        path: (K, 4) the aorta's centreline and radius, from the root to the fork.
    """

    walls: list[Shape] = field(default_factory=list)
    arteries: list[Shape] = field(default_factory=list)
    landmarks: dict[str, FloatArray] = field(default_factory=dict)
    renal_ends: FloatArray = field(default_factory=lambda: np.empty((0, 3)))
    path: FloatArray = field(default_factory=lambda: np.empty((0, 4)))


class _Line:
    """The aorta's centreline by the distance along it.

    Args:
        path: (K, 4) points in mm and radius; the tube is drawn through exactly these points.
    """

    def __init__(self, path: FloatArray) -> None:
        self.path = path
        self.distance = np.concatenate([[0.0], np.cumsum(np.sqrt((np.diff(path[:, :3], axis=0) ** 2).sum(1)))])

    def at(self, distance: float) -> FloatArray:
        """(4,) point and radius."""
        return np.array([np.interp(distance, self.distance, column) for column in self.path.T])

    def tangent(self, distance: float) -> FloatArray:
        return unit(self.at(distance + 2.0)[:3] - self.at(distance - 2.0)[:3])

    def wall(self, distance: float, towards: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The wall's point in a direction, and that direction made square to the centreline."""
        tangent = self.tangent(distance)
        out = unit(towards - (towards @ tangent) * tangent)
        point = self.at(distance)
        return point[:3] + point[3] * out, out

    def where(self, height: float) -> float:
        """Distance along the descending part at which it passes a height (S)."""
        top = int(np.argmax(self.path[:, 2]))
        return float(np.interp(-height, -self.path[top:, 2], self.distance[top:]))


def draw_aorta(
    draws: Draws,
    valve: FloatArray,
    start: FloatArray,
    spine: Spine,
    tissue: Tissue,
    variation: Variation | None = None,
) -> Aorta:
    """Draw the aorta and its branches.

    Args:
        draws: random numbers.
        valve: (3,) centre of the aortic annulus.
        start: (M, 4) first points and radii, at the root.
        spine: the spine, whose scale is this body's.
        tissue: HU.
        variation: whose disease and arch are drawn.
    """
    disease, arch = (None, None) if variation is None else (variation.disease, variation.arch)
    scale = spine.scale
    path = _draw_path(draws, valve, start, spine, arch)
    line = _Line(path if disease is None else disease.widened(path))
    fork = line.path[-1]
    aorta = Aorta(path=line.path)
    width = float(np.cbrt(scale.prod()) * draws.near(1.0, 0.12))
    branches = _arch_branches(draws, line, aorta, scale, width, arch)
    branches += _visceral_branches(draws, line, aorta, scale, width)
    branches += _iliac_arteries(draws, fork, scale, width)
    aorta.landmarks["aortic_bifurcation"] = fork[:3]
    for points, radii in branches:
        path = curve(np.column_stack([points, radii]), _BRANCH_STEP_MM)
        aorta.walls.append(Tube(tissue.fat, path[::2, :3], path[::2, 3] + 2.5))
        aorta.arteries.append(Tube(tissue.blood, path[:, :3], path[:, 3]))
    aorta.walls.append(Tube(tissue.wall, line.path[::2, :3], line.path[::2, 3] + draws.near(1.8, 0.5)))
    aorta.arteries.append(Tube(tissue.blood, line.path[:, :3], line.path[:, 3]))
    if disease is not None:
        aorta.arteries += disease.shapes(line.path, tissue)
    _add_plaques(aorta, draws, line)
    return aorta


def _draw_path(
    draws: Draws, valve: FloatArray, start: FloatArray, spine: Spine, changed: Arch | None = None
) -> FloatArray:
    """(K, 4) centreline and radius from the root to the fork into the iliac arteries."""
    scale = spine.scale
    width = float(np.cbrt(scale.prod()) * draws.near(1.0, 0.13))
    top = draws.near(88, 9)
    arch = np.array([
        [19, 2, 0.54 * top], [17, -10, 0.80 * top], [4, -28, top], [-12, -46, 0.95 * top], [-20, -57, 0.72 * top],
    ])  # fmt: skip
    if changed is not None:
        arch = changed.bent(arch)
    arch = valve + (arch + draws.jitter(4.0, (5, 3))) * scale
    wide = np.array([15.8, 15.3, 14.3, 13.4, 12.8]) * width * draws.uniform(0.95, 1.05, (5,))
    # The descending part lies to the left of the vertebrae, and before them from the diaphragm on.
    heights = np.array([28, -8, -50, -95, -135, -170, -215, -262.0])
    heights[-1] += draws.near(0.0, 14.0)
    aside = np.array([-26, -27, -26, -20, -12, -7, -5, -3.0]) + draws.jitter(3.5, (8,))
    before = np.array([16, 17, 19, 24, 28, 29, 29, 28.0]) + draws.jitter(2.0, (8,))
    descending = spine(heights * scale[2]) + np.column_stack([aside, before, np.zeros(8)]) * scale
    narrow = np.array([12.5, 12.2, 12.0, 11.5, 11.0, 10.0, 9.2, 9.0]) * width
    knots = np.concatenate([np.column_stack([arch, wide]), np.column_stack([descending, narrow])])
    return curve(np.concatenate([start, knots]), 3.0)


Branches = list[tuple["FloatArray", "FloatArray"]]


def _leave(wall: FloatArray, out: FloatArray, radius: float) -> FloatArray:
    """A branch's first points: from well inside the parent straight through the wall's point."""
    return np.stack([wall - 1.5 * radius * out, wall, wall + 0.8 * radius * out])


def _joined(start: FloatArray, steps: FloatArray) -> FloatArray:
    """A branch's first points, then points given from its origin."""
    return np.concatenate([start, start[1] + steps])


def _arch_branches(
    draws: Draws, line: _Line, aorta: Aorta, scale: FloatArray, width: float, arch: Arch | None
) -> Branches:
    """Brachiocephalic trunk with its fork, left common carotid and left subclavian artery."""
    top = float(line.distance[int(np.argmax(line.path[:, 2]))])
    first = top - draws.near(14, 5) * width
    second = first + draws.near(14.5, 2.5) * width
    third = second + draws.near(15, 3) * width
    places = np.array([first, second, third]) if arch is None else arch.places(np.array([first, second, third]), width)
    radii = [draws.near(6.3, 0.9) * width, draws.near(3.7, 0.5) * width, draws.near(4.9, 0.6) * width]
    names = ("brachiocephalic_origin", "left_common_carotid_origin", "left_subclavian_origin")
    leans = ([0.15, 0.15, 1.0], [-0.1, 0.05, 1.0], [-0.25, -0.1, 1.0])
    starts = []
    for row, (name, distance, lean, radius) in enumerate(zip(names, places, leans, radii, strict=True)):
        wall, out = line.wall(distance, np.array(lean) + draws.jitter(0.12))
        if arch is not None:
            out = unit(out + arch.along[row] * line.tangent(distance))
        aorta.landmarks[name] = wall
        starts.append(_leave(wall, out, radius))
    trunk = unit(np.array([0.42, -0.12, 0.9]) + draws.jitter(0.12))
    length = draws.near(40, 8) * width * (1.0 if arch is None else arch.trunk)
    fork = starts[0][1] + length * trunk
    aorta.landmarks["brachiocephalic_bifurcation"] = fork
    big, carotid, left = radii
    stem = np.concatenate([starts[0], [fork]]), np.array([1.1, 1.1, 1.0, 0.95]) * big
    if arch is not None and arch.bovine is not None:
        starts[1] = _from_trunk(stem, arch.bovine, carotid)
        aorta.landmarks["left_common_carotid_origin"] = starts[1][1]
    return [
        stem,
        (fork + np.array([[0, 0, 0], [5, -1, 14], [5, -6, 38], [7, -8, 80], [8, -8, 130]]) * scale,
         np.full(5, carotid)),
        (fork + np.array([[0, 0, 0], [14, -5, 7], [35, -8, 14], [70, -4, 10], [105, 4, 0]]) * scale,
         np.full(5, 0.72 * big)),
        (_joined(starts[1], np.array([[-6, -3, 30], [-9, -9, 75], [-10, -10, 160]]) * scale),
         np.full(6, carotid)),
        (_joined(starts[2], np.array([[-8, -4, 26], [-20, -4, 44], [-50, 2, 52], [-95, 10, 42]]) * scale),
         np.full(7, left)),
    ]  # fmt: skip


def _from_trunk(stem: tuple[FloatArray, FloatArray], part: float, radius: float) -> FloatArray:
    """First points of a branch that leaves the brachiocephalic trunk to the left, a part of the way to its fork."""
    trunk = _Line(curve(np.column_stack(stem), _BRANCH_STEP_MM))
    origin, fork = (float(trunk.distance[np.abs(trunk.path[:, :3] - end).sum(1).argmin()]) for end in stem[0][[1, 3]])
    wall, out = trunk.wall(origin + part * (fork - origin), np.array([-1.0, -0.1, 0.3]))
    return _leave(wall, out, radius)


def _visceral_branches(draws: Draws, line: _Line, aorta: Aorta, scale: FloatArray, width: float) -> Branches:
    """Coeliac trunk, superior mesenteric and renal arteries."""
    coeliac = line.where((-138 + draws.near(0.0, 11.0)) * scale[2])
    mesenteric = coeliac + draws.near(15, 4) * width
    right = mesenteric + draws.near(15, 6) * width
    left = right + draws.near(0.0, 8.0)
    radii = [draws.near(3.9, 0.5), draws.near(4.0, 0.5), draws.near(3.0, 0.4), draws.near(3.0, 0.4)]
    plan: tuple[tuple[str, float, list[float]], ...] = (
        ("coeliac_origin", coeliac, [0.05, 1.0, 0.0]),
        ("superior_mesenteric_origin", mesenteric, [0.0, 1.0, 0.0]),
        ("right_renal_origin", right, [1.0, 0.25, 0.0]),
        ("left_renal_origin", left, [-1.0, 0.02, 0.0]),
    )
    starts = []
    for (name, distance, towards), radius in zip(plan, radii, strict=True):
        wall, out = line.wall(distance, np.array(towards) + draws.jitter(0.15))
        aorta.landmarks[name] = wall
        starts.append(_leave(wall, out, radius * width))
    tripod = starts[0][1] + np.array([2, 17, -6]) * scale + draws.jitter(3.0)
    behind = aorta.landmarks["right_renal_origin"] + np.array([[18, -5, -4], [48, -14, -10]]) * scale
    beside = aorta.landmarks["left_renal_origin"] + np.array([[-14, -6, -3], [-42, -14, -6]]) * scale
    aorta.renal_ends = np.stack([behind[1], beside[1]])
    size = [radius * width for radius in radii]
    return [
        (np.concatenate([starts[0], [tripod]]), np.array([1.1, 1.1, 1.0, 0.95]) * size[0]),
        (tripod + np.array([[0, 0, 0], [14, 3, -2], [32, 4, 2], [48, 2, 14]]) * scale,
         np.array([0.8, 0.75, 0.7, 0.6]) * size[0]),
        (tripod + np.array([[0, 0, 0], [-16, 3, 5], [-32, -8, -2], [-55, -22, 7], [-78, -38, 14]]) * scale,
         np.array([0.85, 0.8, 0.75, 0.7, 0.6]) * size[0]),
        (_joined(starts[1], np.array([[0, 11, -14], [2, 14, -38], [5, 18, -80], [14, 18, -120]]) * scale),
         np.array([1.15, 1.1, 1.0, 0.95, 0.85, 0.7, 0.45]) * size[1]),
        (np.concatenate([starts[2], behind]), np.array([1.1, 1.1, 1.0, 0.95, 0.8]) * size[2]),
        (np.concatenate([starts[3], beside]), np.array([1.1, 1.1, 1.0, 0.95, 0.8]) * size[3]),
    ]  # fmt: skip


def _iliac_arteries(draws: Draws, fork: FloatArray, scale: FloatArray, width: float) -> Branches:
    """The two common iliac arteries with their continuation to the groin."""
    paths: Branches = []
    for side in (1.0, -1.0):
        steps = np.array([[0, 0, 0], [9, 2, -14], [30, -3, -48], [50, -4, -82], [66, 16, -125]]) * [side, 1, 1]
        steps[1:] += draws.jitter(2.5, (4, 3))
        radii = np.array([0.95 * fork[3] / width, 6.4, 5.4, 5.0, 4.4]) * width
        paths.append((fork[:3] + steps * scale, radii * np.array([1.0, 1.0, 1.0, 0.9, 0.85])))
    return paths


def _add_plaques(aorta: Aorta, draws: Draws, line: _Line) -> None:
    """Calcium in the wall, none to many specks."""
    for _ in range(int(draws.uniform(0, 9))):
        distance = draws.uniform(60.0, float(line.distance[-1]) - 10)
        middle, _ = line.wall(distance, draws.jitter(1.0) + np.array([0.0, 0.0, 1e-3]))
        radii = np.array([2.8, 1.3, 1.8]) * draws.uniform(0.6, 1.3, (3,))
        aorta.arteries.append(Ellipsoid(draws.near(850, 200), middle, np.eye(3), radii))
