"""Landmarks as a dense map from image to template: masks and uv values, and any point of the template read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from lmk3d.codecs.heatmap import Peaks
from lmk3d.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    FloatArray = NDArray[np.float64]

__all__ = ["DenseCodec", "contour_masks", "polygon_mask"]

_CHUNK_NUMBERS = 2**24  # distances worked out at once


@dataclass(frozen=True)
class DenseCodec:
    """Turns contours into masks and uv maps, and both back into landmarks.

    A structure is a closed contour of landmarks. The template is the mean shape; uv are a point's two places in the box
    of its structure there, from -1 to 1. Nothing here has a channel for each landmark.

    Args:
        names: all landmarks, in the order of the points.
        structures: each structure's name and its landmarks, in order round its contour; a landmark is in one of them.
        neighbours: K, pixels with the nearest uv values that a point is read from.
        temperature: of the softmin over the distance of their uv values; smaller trusts the nearest more.
        threshold: of the mask's probability.
    Raises:
        ValueError: if a structure has fewer than three landmarks or an unknown one, or a landmark is in none or two.
    Source:
        DenseSeg 2024, sec. 2.1 and eqs. 2-3, with K = 5 and a temperature of 1. The paper aligns the landmarks to the
        template and interpolates what is left linearly; an affine map plus the linear interpolation of its residual is
        the linear interpolation itself, so that is what is done, triangle by triangle.

    >>> codec = DenseCodec(["a", "b", "c"], {"triangle": ["a", "b", "c"]})
    >>> points_vox = np.array([[2.0, 2, 0], [12, 2, 0], [2, 12, 0]])
    >>> maps = codec.draw(points_vox, (16, 16, 1), template_mm=points_vox)
    >>> maps.shape  # a mask, u and v
    torch.Size([3, 16, 16, 1])
    """

    names: Sequence[str]
    structures: Mapping[str, Sequence[str]]
    neighbours: int = 5
    temperature: float = 1.0
    threshold: float = 0.5
    instances: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        listed = [name for members in self.structures.values() for name in members]
        if unknown := [name for name in listed if name not in set(self.names)]:
            raise ValueError(f"structures name {unknown[0]!r}, which is not among the landmarks")
        counts = {name: listed.count(name) for name in self.names}
        if wrong := [name for name, count in counts.items() if count != 1]:
            raise ValueError(f"each landmark must be in one structure, but {wrong[0]!r} is in {counts[wrong[0]]}")
        if short := [name for name, members in self.structures.items() if len(members) < 3]:
            raise ValueError(
                f"structure {short[0]!r} has {counted(len(self.structures[short[0]]), 'landmark')}, a contour needs 3"
            )

    @cached_property
    def rows(self) -> tuple[NDArray[np.intp], ...]:
        """The landmarks of each structure, in order round its contour."""
        place = {name: row for row, name in enumerate(self.names)}
        return tuple(np.array([place[name] for name in members]) for members in self.structures.values())

    def template_uv(self, template_mm: FloatArray) -> FloatArray:
        """(N, 2) uv of the template's landmarks, each in the box of its structure.

        Args:
            template_mm: (N, 3) the mean shape of films: its first two coordinates count.
        """
        uv = np.empty((len(template_mm), 2))
        for rows in self.rows:
            uv[rows] = self.to_uv(template_mm[rows, :2], template_mm[rows, :2])
        return uv

    @staticmethod
    def to_uv(points_mm: FloatArray, contour_mm: FloatArray) -> FloatArray:
        """The uv of (P, 2) points of the template in the box of a structure's (M, 2) contour there."""
        low, high = contour_mm.min(0), contour_mm.max(0)
        return 2 * (points_mm - low) / np.maximum(high - low, 1e-9) - 1

    def draw(self, points_vox: FloatArray, shape: tuple[int, int, int], template_mm: FloatArray) -> Tensor:
        """Masks and uv maps of one image.

        Args:
            points_vox: (N, 3) sub-voxel indices; a structure that lacks a landmark is unknown.
            shape: (I, J, 1) of the maps.
            template_mm: (N, 3) the mean shape.
        Returns:
            (3 S, I, J, 1) float32: S masks of 0 and 1, then S maps of u and S of v, NaN outside; all of an unknown
            structure is NaN.
        """
        count, uv = len(self.rows), self.template_uv(template_mm)
        target = np.full((3 * count, *shape), np.nan, dtype=np.float32)
        for number, rows in enumerate(self.rows):
            contour = np.asarray(points_vox, dtype=np.float64)[rows, :2]
            if np.isnan(contour).any():
                continue
            inside = polygon_mask(contour, shape[:2])
            target[number, :, :, 0] = inside
            pixels = np.argwhere(inside)
            values = _interpolated(contour, uv[rows], pixels)
            target[count + number, pixels[:, 0], pixels[:, 1], 0] = values[:, 0]
            target[2 * count + number, pixels[:, 0], pixels[:, 1], 0] = values[:, 1]
        return torch.from_numpy(target)

    def outlined(self, points_vox: FloatArray, shape: tuple[int, int, int]) -> dict[str, NDArray[np.bool_]]:
        """The mask of each structure whose contour (N, 3) points hold in full; see ``contour_masks``."""
        contours = {name: points_vox[rows] for name, rows in zip(self.structures, self.rows, strict=True)}
        return contour_masks(contours, shape)

    def masks(self, logits: Tensor) -> Tensor:
        """(S, ...) True inside each structure, of (3 S, ...) logits."""
        return torch.sigmoid(logits[: len(self.rows)].float()) > self.threshold

    def decode(self, logits: Tensor, template_mm: FloatArray) -> Peaks:
        """The template's landmarks, one peak each; see ``read_out``. A structure of no pixel leaves its points NaN."""
        uv = self.template_uv(template_mm)
        points = torch.full((len(uv), 3), torch.nan)
        presence = torch.zeros(len(uv))
        for number, rows in enumerate(self.rows):
            points[rows] = self.read_out(logits, number, uv[rows])
            presence[rows] = float(torch.sigmoid(logits[number].float().amax()))
        found = ~points.isnan().any(1)
        return Peaks(points[:, None], found[:, None].float(), presence * found)

    def read_out(self, logits: Tensor, structure: int, uv: FloatArray) -> Tensor:
        """Where points of the template lie in the image, trained on or not.

        Args:
            logits: (3 S, I, J, 1).
            structure: number of the structure they belong to.
            uv: (P, 2) of the points, from ``to_uv``.
        Returns:
            (P, 3) sub-voxel indices; NaN where the structure has no pixel.
        """
        count = len(self.rows)
        pixels = torch.nonzero(self.masks(logits)[structure])
        if not len(pixels):
            return torch.full((len(uv), 3), torch.nan)
        maps = logits[[count + structure, 2 * count + structure]].float()
        seen = maps[:, pixels[:, 0], pixels[:, 1], pixels[:, 2]].T
        wanted = torch.as_tensor(uv, dtype=torch.float32, device=logits.device)
        parts = []
        for some in wanted.split(max(1, _CHUNK_NUMBERS // len(pixels))):
            near = torch.cdist(some, seen).topk(min(self.neighbours, len(pixels)), largest=False)
            weights = torch.softmax(-near.values / self.temperature, dim=1)
            parts.append((weights[..., None] * pixels[near.indices]).sum(1))
        return torch.cat(parts).cpu()


def contour_masks(contours: Mapping[str, FloatArray], shape: tuple[int, int, int]) -> dict[str, NDArray[np.bool_]]:
    """The (I, J, 1) mask inside each contour, (M, 3) sub-voxel indices in order; one that lacks a point has none.

    >>> masks = contour_masks(
    ...     {"box": np.array([[0.5, 0.5, 0], [0.5, 2.5, 0], [2.5, 2.5, 0], [2.5, 0.5, 0]])}, (4, 4, 1)
    ... )
    >>> int(masks["box"].sum())
    4
    """
    return {
        name: polygon_mask(contour[:, :2], shape[:2])[:, :, None]
        for name, contour in contours.items()
        if np.isfinite(contour).all()
    }


def polygon_mask(contour: FloatArray, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixel centres lie inside a closed contour, by the even-odd rule.

    Args:
        contour: (M, 2) rows and columns of its corners, in order.
        shape: (H, W) pixels.
    """
    inside = np.zeros(shape, dtype=bool)
    first = np.clip(np.floor(contour.min(0)).astype(int), 0, shape)
    last = np.clip(np.ceil(contour.max(0)).astype(int) + 1, 0, shape)
    rows, columns = np.arange(first[0], last[0])[:, None], np.arange(first[1], last[1])[None]
    box = inside[first[0] : last[0], first[1] : last[1]]
    for (i, j), (to_i, to_j) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
        if i == to_i:  # a ray along the row meets no edge along the row
            continue
        crosses = (i > rows) != (to_i > rows)
        box ^= crosses & (columns < j + (rows - i) * (to_j - j) / (to_i - i))
    return inside


def _interpolated(points: FloatArray, values: FloatArray, at: NDArray[np.intp]) -> FloatArray:
    """Values (A, 2) at pixels, linear in the triangles between points; NaN outside their hull, or without one."""
    from scipy.interpolate import LinearNDInterpolator
    from scipy.spatial import QhullError

    try:
        return np.asarray(LinearNDInterpolator(points, values)(at), dtype=np.float64)
    except QhullError:  # all on one line
        return np.full((len(at), 2), np.nan)
