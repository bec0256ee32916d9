"""Points and the image they lie in, read together and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.errors import InputError
from lmk3d.geometry import Grid
from lmk3d.io import read_image, read_points
from lmk3d.terminal import say

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.geometry import Volume
    from lmk3d.landmarks import Landmarks

__all__ = ["Side", "read_side"]

# Half a voxel is the image's own edge; markers of a cropped structure may lie a little outside.
_MARGIN_VOX = 2.0


@dataclass(frozen=True)
class Side:
    """A file of points and its image.

    Args:
        points: a file of points.
        image: the image they lie in, where there is one.
        spacing_mm: pixel spacing of a film whose file does not say it.
    """

    points: Path
    image: Path | None = None
    spacing_mm: float | None = None


def read_side(side: Side) -> tuple[Landmarks, Volume | None]:
    """The points and, where there is one, their image; prints what should be known about them, such as their trust.

    Raises:
        InputError: if a file cannot be read, the two count different units, or no point lies in the image.
    """
    image = None if side.image is None else read_image(side.image, spacing_mm=side.spacing_mm)
    landmarks = read_points(side.points, image=None if image is None else lambda: image)
    say(*(f"note: {side.points}: {note}" for note in landmarks.notes))
    if len(suspect := [landmarks.names[row] for row in np.flatnonzero(landmarks.suspect)]):
        say(f"note: {side.points}: not trusted: {', '.join(suspect)}")
    if image is None:
        return landmarks, None
    say(*(f"note: {side.image}: {note}" for note in image.notes))
    if image.unit != landmarks.unit:
        raise InputError(
            f"{side.points}: is in {landmarks.unit}, its image {side.image} in {image.unit}; give the "
            f"film's spacing, and points made with it"
        )
    points = landmarks.points_mm[landmarks.present]
    if len(points) and not image.grid.contains(points, margin_vox=_MARGIN_VOX).any():
        index = Grid(image.grid.shape, np.eye(4)).contains(np.abs(points))
        hint = "; they look like voxel indices" if index.all() else ""
        raise InputError(
            f"{side.points}: no point lies in {side.image}{hint}; give points in world mm and their own image"
        )
    return landmarks, image
