"""The heart of a phantom: aortic root with its three sinuses, coronary arteries, ventricles, atria, pulmonary trunk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.synthetic.chambers import Chambers
from lmk3d.synthetic.root import Root, draw_root
from lmk3d.synthetic.shapes import Ellipsoid, Shape, Tube, curve, unit
from lmk3d.synthetic.tissue import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmk3d.synthetic.draws import Draws
    from lmk3d.synthetic.tissue import Tissue

    FloatArray = NDArray[np.float64]

__all__ = ["Heart", "draw_heart"]


@dataclass
class Heart:
    """What the heart leaves to the rest of the body.

    Args:
        shapes: chambers and great vessels, to be painted first.
        arteries: coronary arteries and aortic root, to be painted after the aorta's wall.
        landmarks: (3,) position of each cardiac landmark.
        aorta_start: (M, 4) first points and radii of the ascending aorta's centreline, from inside the ventricle.
    """

    shapes: list[Shape] = field(default_factory=list)
    arteries: list[Shape] = field(default_factory=list)
    landmarks: dict[str, FloatArray] = field(default_factory=dict)
    aorta_start: FloatArray = field(default_factory=lambda: np.empty((0, 4)))

    def shifted(self, by_mm: FloatArray) -> Heart:
        """This heart, moved."""
        return Heart(
            [shape.moved(np.eye(3), by_mm) for shape in self.shapes],
            [shape.moved(np.eye(3), by_mm) for shape in self.arteries],
            {name: point + by_mm for name, point in self.landmarks.items()},
            self.aorta_start + np.append(by_mm, 0.0),
        )


def draw_heart(draws: Draws, valve: FloatArray, tissue: Tissue, chambers: Chambers | None = None) -> Heart:
    """Draw a heart.

    Args:
        draws: random numbers.
        valve: (3,) centre of the aortic annulus in the body's frame (R, A, S; before its pose).
        tissue: HU.
        chambers: how its chambers differ from the usual ones.
    """
    frame = Frame(valve, draws.tilt(13.0), draws.near(1.0, 0.12))
    heart = Heart()
    left = _draw_left_ventricle(draws, frame)
    root = draw_root(draws, frame)
    # Fat about the whole heart, within the pericardium.
    sac = np.array([50.0, 53.0, 66.0]) * frame.scale
    heart.shapes.append(Ellipsoid(tissue.fat, frame.at(-26, 10, -28)[0], left.axes, sac, egg=0.15))
    inside = left.centre - 0.35 * left.radii[2] * left.axes[:, 2]
    heart.shapes += root.walls(inside, tissue)
    heart.arteries += root.blood(inside, tissue)
    heart.aorta_start = root.aorta_start
    _add_chambers(heart, draws, frame, left, tissue, Chambers() if chambers is None else chambers)
    _add_vessels(heart, draws, frame, tissue)
    _add_coronaries(heart, draws, frame, root, left, tissue)
    heart.landmarks["heart_apex"] = left.centre + left.radii[2] * left.axes[:, 2]
    heart.landmarks["non_coronary_commissure"] = root.hinge(2)
    return heart


@dataclass(frozen=True)
class _Ventricle:
    """The left ventricle: an egg whose third axis points to the apex and whose first points to the front groove."""

    centre: FloatArray
    axes: FloatArray
    radii: FloatArray
    wall: float
    apex_wall: float
    egg: float

    def surface(self, height: float, angle_deg: float, above_mm: float = 0.0) -> FloatArray:
        """The outer surface's point at a height (-1 base, 1 apex) and an angle about the axis from the first axis."""
        across = np.sqrt(max(0.0, 1 - height**2)) * (1 - self.egg * height)
        angle = np.radians(angle_deg)
        local = np.array([across * np.cos(angle), across * np.sin(angle), height]) * self.radii
        outward = unit(local / self.radii**2)
        return self.centre + self.axes @ (local + above_mm * outward)


def _draw_left_ventricle(draws: Draws, frame: Frame) -> _Ventricle:
    size = draws.near(1.0, 0.07)
    radii = np.array([draws.near(36, 3), draws.near(36, 3), 55.0 * size]) * frame.scale
    long_axis = unit(np.array([-0.65, 0.43, -0.62]) + draws.jitter(0.14))
    groove = np.array([-0.25, 0.78, 0.55])  # towards the front groove between the ventricles
    groove = unit(groove - (groove @ long_axis) * long_axis)
    axes = np.stack([groove, np.cross(long_axis, groove), long_axis], axis=1)
    base = np.array([-2.0, 2.0, -1.5]) + draws.jitter(2.0)
    centre = base + 45.0 * size * long_axis
    return _Ventricle(
        centre=frame.at(centre)[0],
        axes=frame.turn @ axes,
        radii=radii,
        wall=draws.near(10.5, 2.0) * frame.scale,
        apex_wall=draws.near(6.5, 1.5) * frame.scale,
        egg=draws.near(0.24, 0.06),
    )


def _add_chambers(
    heart: Heart, draws: Draws, frame: Frame, left: _Ventricle, tissue: Tissue, chambers: Chambers
) -> None:
    scale = frame.scale
    shapes = heart.shapes
    # Right atrium and ventricle: thin wall, then blood.
    atrium, ventricle = frame.at(40, -4, -22)[0], frame.at(-8, 27, -37)[0]
    wall = draws.near(3.5, 0.7) * scale
    thick = np.array([23.0, 34.0, 47.0]) * scale * (1 + draws.jitter(0.07))
    round_ = np.array([23.0, 27.0, 31.0]) * scale * (1 + draws.jitter(0.08))
    atrium, round_ = chambers.grown_right(atrium, round_, frame)
    flat = unit(frame.to(0.45, 0.80, 0.1) - (frame.to(0.45, 0.80, 0.1) @ left.axes[:, 2]) * left.axes[:, 2])
    tilt = np.stack([flat, np.cross(left.axes[:, 2], flat), left.axes[:, 2]], axis=1)
    shapes.append(Ellipsoid(tissue.myocardium, ventricle, tilt, thick + wall, egg=0.2))
    shapes.append(Ellipsoid(tissue.myocardium, atrium, frame.turn, round_ + 2))
    tract = curve(
        np.column_stack([frame.at([-4, 36, -18], [-12, 35, -2], [-19, 30, 13]), scale * np.array([17.0, 15.5, 13.5])]),
        4.0,
    )
    shapes.append(Tube(tissue.myocardium, tract[:, :3], tract[:, 3] + wall * 0.8))
    shapes.append(Ellipsoid(tissue.right_blood, ventricle, tilt, thick, egg=0.2))
    shapes.append(Ellipsoid(tissue.right_blood, atrium, frame.turn, round_))
    shapes.append(Tube(tissue.right_blood, frame.at([34, 2, -24], [14, 18, -34]), scale * np.array([16.0, 17.0])))
    shapes.append(Tube(tissue.right_blood, tract[:, :3], tract[:, 3]))
    shapes += chambers.mixture(Ellipsoid(0.0, atrium, frame.turn, round_))
    shapes += chambers.mixture(Ellipsoid(0.0, ventricle, tilt, thick))
    middle = _add_left_atrium(shapes, draws, frame, tissue, chambers)
    # The left ventricle last: its muscle is the septum.
    cavity = left.radii - np.array([left.wall, left.wall, left.apex_wall])
    shapes.append(Ellipsoid(tissue.myocardium, left.centre, left.axes, left.radii, egg=left.egg))
    shapes.append(Ellipsoid(tissue.blood, left.centre, left.axes, cavity, egg=left.egg))
    mouth = left.centre - 0.45 * left.radii[2] * left.axes[:, 2]
    shapes.append(Tube(tissue.blood, np.stack([mouth, middle]), np.array([15.0, 15.0]) * scale))
    for angle in (-50.0, -140.0):
        muscle = left.centre + 0.72 * (left.surface(0.25, angle + draws.near(0.0, 15.0)) - left.centre)
        muscle = np.stack([muscle, muscle - 17 * scale * left.axes[:, 2]])
        shapes.append(Tube(tissue.myocardium, muscle, np.array([5.0, 3.0]) * scale))


def _add_left_atrium(shapes: list[Shape], draws: Draws, frame: Frame, tissue: Tissue, chambers: Chambers) -> FloatArray:
    """Left atrium with its ear and four veins; its middle."""
    middle = frame.at(-5, -36, -5)[0]
    size = np.array([33.0, 19.0, 24.0]) * frame.scale * (1.01 + draws.jitter(0.09))
    middle, size = chambers.grown_left(middle, size, frame)
    veins = [([-58, -34, 10], 6.5), ([-56, -40, -14], 6.0), ([50, -34, 6], 6.5), ([48, -42, -16], 6.0)]
    for colour, more in ((tissue.wall, 2.0), (tissue.blood, 0.0)):
        shapes.append(Ellipsoid(colour, middle, frame.turn, size + more))
        for end, radius in veins:
            shapes.append(
                Tube(colour, np.stack([middle, frame.at(end)[0]]), np.array([8.5, radius]) * frame.scale + more)
            )
        ear = frame.at([-24, -22, 6], [-42, -15, 20], [-51, 2, 20])
        shapes.append(Tube(colour, ear, np.array([8.5, 8.5, 5.5]) * frame.scale + more))
    return middle


def _add_vessels(heart: Heart, draws: Draws, frame: Frame, tissue: Tissue) -> None:
    """Pulmonary trunk with its two branches, upper and lower caval veins' last pieces."""
    scale = frame.scale
    fork = frame.at(-24, 5, 51)[0]
    trunk = np.concatenate([frame.at([-19, 30, 13], [-22, 29, 31]), [fork]])
    right = np.concatenate([[fork], frame.at([-2, -20, 47], [28, -28, 38], [56, -36, 30])])
    left = np.concatenate([[fork], frame.at([-40, -22, 47], [-56, -38, 42])])
    paths = [
        (trunk, [13.5, 13.5, 12.0]),
        (right, [11.5, 10.5, 9.5, 7.0]),
        (left, [11.0, 10.5, 8.0]),
        (frame.at([36, -12, 96], [37, -16, 40], [38, -12, -6]), [9.0, 9.5, 10.5]),
    ]
    bloods = (tissue.right_blood, tissue.right_blood, tissue.right_blood, tissue.cava)
    for colours, more in (((tissue.wall,) * 4, 1.5), (bloods, 0.0)):
        for colour, (points, radii) in zip(colours, paths, strict=True):
            path = curve(np.column_stack([points, np.array(radii) * scale]), 4.0)
            heart.shapes.append(Tube(colour, path[:, :3], path[:, 3] + more))


def _add_coronaries(heart: Heart, draws: Draws, frame: Frame, root: Root, left: _Ventricle, tissue: Tissue) -> None:
    """Left main with its two branches, and the right coronary artery; each starts inside its sinus."""
    scale = frame.scale
    right_ostium, right_out = root.wall(0, draws.near(8, 12), draws.near(24, 11))
    left_ostium, left_out = root.wall(1, draws.near(-8, 12), draws.near(25, 11))
    main = draws.near(10.5, 3.5) * scale
    level = left_out - 0.6 * (left_out @ root.up) * root.up
    heading = unit(level + 0.4 * frame.to(-0.85, 0.5, -0.25) + draws.jitter(0.15))
    straight = left_ostium + 3.0 * left_out
    fork = straight + (main - 3.0) * heading
    width = draws.near(2.1, 0.35) * scale
    main_path = np.stack([left_ostium - 3 * left_out, left_ostium, straight, fork])
    descending = np.concatenate(
        [[fork], fork + scale * np.array([[-12, 6, -2.0]]) @ frame.turn.T,
         [left.surface(h, a, 3.0) for h, a in ((-0.5, -52.0), (-0.2, -36.0), (0.15, -15.0), (0.5, -5.0), (0.8, 0.0))]]
    )  # fmt: skip
    round_ = np.concatenate(
        [[fork], fork + scale * np.array([[-9, -2, -8.0]]) @ frame.turn.T,
         [left.surface(-0.48, a, 2.5) for a in (-85.0, -110.0, -145.0, -175.0)]]
    )  # fmt: skip
    to_groove = frame.at([16, 28, 6], [34, 28, -10], [40, 24, -34], [30, 8, -58], [6, -6, -60])
    right_path = np.concatenate(
        [np.stack([right_ostium - 3 * right_out, right_ostium, right_ostium + 5 * right_out]), to_groove]
    )
    thin = draws.near(1.75, 0.3) * scale
    paths = [
        (main_path, np.full(4, width)),
        (descending, width * np.array([0.85, 0.8, 0.75, 0.7, 0.62, 0.52, 0.42])),
        (round_, width * np.array([0.8, 0.76, 0.7, 0.62, 0.55, 0.45])),
        (right_path, thin * np.array([1.0, 1.0, 1.0, 1.0, 0.95, 0.9, 0.8, 0.65])),
    ]
    diagonal = [left.surface(h, a, 2.5) for h, a in ((-0.35, -38.0), (-0.1, -60.0), (0.25, -72.0))]
    paths.append((np.stack(diagonal), width * np.array([0.55, 0.5, 0.35])))
    for points, radii in paths:
        path = curve(np.column_stack([points, radii]), 1.5)
        vessel = Tube(tissue.blood, path[:, :3], path[:, 3])
        coarse = path[:: 3 if len(path) > 9 else 1]
        heart.shapes.append(Tube(tissue.fat, coarse[:, :3], coarse[:, 3] + 2.2 * scale))
        heart.arteries.append(vessel)
    heart.landmarks["right_coronary_ostium"] = right_ostium
    heart.landmarks["left_coronary_ostium"] = left_ostium
    heart.landmarks["left_main_bifurcation"] = fork
