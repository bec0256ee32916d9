"""Radiograph phantoms: drawn subjects, their landmarks known exactly, some kinds also with contours and masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from lmk3d.geometry import Grid, Volume
from lmk3d.landmarks import Landmarks
from lmk3d.synthetic.canvas import Canvas
from lmk3d.synthetic.chest import draw_chest
from lmk3d.synthetic.draws import Draws
from lmk3d.synthetic.mediastinum import draw_mediastinum
from lmk3d.synthetic.skull import draw_skull
from lmk3d.synthetic.spine import draw_spine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lmk3d.synthetic.drawn import Drawn

__all__ = ["FilmKind", "FilmPhantom", "film_phantom"]

FilmKind = Literal["skull", "spine", "chest", "mediastinum"]

_FIELDS_MM = {"skull": (240.0, 194.0), "spine": (640.0, 250.0), "chest": (360.0, 360.0), "mediastinum": (260.0, 260.0)}


@dataclass(frozen=True, eq=False)
class FilmPhantom:
    """One drawn film.

    Args:
        volume: (rows, columns, 1), uint8 or uint16.
        landmarks: all names of the kind, in one order; a name may have several rows, or none.
        contours: closed outlines by structure, as rows of ``landmarks`` one after another.
        masks: (rows, columns, 1) by structure, whether each pixel's centre lies in it.
    """

    volume: Volume
    landmarks: Landmarks
    contours: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


def film_phantom(  # noqa: PLR0913 - each changes the film in its own way
    seed: int,
    *,
    kind: FilmKind = "skull",
    side_px: int = 512,
    unit: str = "mm",
    bits: int = 8,
    scoliosis_deg: Sequence[float] | None = None,
    spinous: int | None = None,
) -> FilmPhantom:
    """Draw a film with exactly known landmarks; one seed gives the same phantom everywhere.

    The subject depends on the seed alone: pixels, unit and bits neither move nor change it.

    Args:
        seed: a non-negative integer.
        kind: "skull": a lateral skull with 19 cephalometric points; "spine": a frontal spine, four corners of each of
            17 vertebrae, with their masks; "chest": contours and masks of lungs, heart and clavicles, 166 points;
            "mediastinum": a faint therapy film with one tracheal bifurcation and none to five spinous processes, which
            share one name.
        side_px: pixels along the longest side.
        unit: "mm"; "px" for a film whose spacing nobody knows.
        bits: 8, or 16 for 12 bits stored in 16.
        scoliosis_deg: of a spine, its three Cobb angles: between the upper plates of T1 and T5 (proximal thoracic), T5
            and T12 (main thoracic), T12 and L4 (thoracolumbar); drawn where None.
        spinous: of a mediastinum, how many spinous processes it shows; drawn where None.
    Raises:
        ValueError: if an argument is out of range, or belongs to another kind.
    """
    _check(seed, kind, side_px, unit, bits)
    if scoliosis_deg is not None and kind != "spine":
        raise ValueError(f"scoliosis_deg is for a spine, not for {kind!r}; leave it out")
    if spinous is not None and kind != "mediastinum":
        raise ValueError(f"spinous is for a mediastinum, not for {kind!r}; leave it out")
    field_mm = _FIELDS_MM[kind]
    spacing = max(field_mm) / side_px
    canvas = Canvas.blank((round(field_mm[0] / spacing), round(field_mm[1] / spacing)), spacing)
    draws = Draws(seed, stream=11)
    if kind == "spine":
        drawn = draw_spine(draws, canvas, scoliosis_deg)
    elif kind == "mediastinum":
        drawn = draw_mediastinum(draws, canvas, spinous)
    else:
        drawn = {"skull": draw_skull, "chest": draw_chest}[kind](draws, canvas)
    return _filmed(drawn, canvas, Draws(seed, stream=12), unit, bits)


def _check(seed: int, kind: str, side_px: int, unit: str, bits: int) -> None:
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    if kind not in get_args(FilmKind):
        raise ValueError(f"kind must be one of {', '.join(get_args(FilmKind))}, got {kind!r}")
    if not isinstance(side_px, (int, np.integer)) or not 32 <= side_px <= 4096:
        raise ValueError(f"side_px must be a whole number from 32 to 4096, got {side_px!r}")
    if unit not in ("mm", "px"):
        raise ValueError(f"unit must be 'mm' or 'px', got {unit!r}")
    if bits not in (8, 16):
        raise ValueError(f"bits must be 8 or 16, got {bits!r}")


def _filmed(drawn: Drawn, canvas: Canvas, draws: Draws, unit: str, bits: int) -> FilmPhantom:
    """The canvas as a stored film, the points on it in the world of a film."""
    data = canvas.exposed(draws, noise=drawn.noise, bits=bits)[:, :, None]
    spacing = canvas.spacing_mm if unit == "mm" else 1.0
    affine = np.zeros((4, 4))
    # Row r, column c lies at LPS (c, r, 0) times the spacing, as for any picture that is read.
    affine[1, 0] = affine[0, 1] = -spacing
    affine[2, 2] = affine[3, 3] = 1.0
    grid = Grid((data.shape[0], data.shape[1], 1), affine)
    points_vox = np.zeros((len(drawn.points), 3))
    points_vox[:, :2] = drawn.points[:, ::-1] / canvas.spacing_mm
    landmarks = Landmarks(drawn.names, grid.to_mm(points_vox), unit=unit)
    masks = {name: mask[:, :, None] for name, mask in drawn.masks.items()}
    return FilmPhantom(Volume(data, grid, unit), landmarks, drawn.contours, masks)
