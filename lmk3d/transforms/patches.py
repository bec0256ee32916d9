"""Patches for the second stage, cut from the stored volume in a given pose, each with the move to its landmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.transforms import MapTransform, RandomizableTransform

from lmk3d.geometry import Grid
from lmk3d.transforms.posing import canonical_pose, disturbed_pose
from lmk3d.transforms.sampling import cut_patches, patch_grid

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection
    from numpy.typing import NDArray

    from lmk3d.codecs import LandmarkTree, ShapeModel
    from lmk3d.transforms.intensity import EqualizedWindow, Window

__all__ = ["RandPatchesd"]


class RandPatchesd(RandomizableTransform, MapTransform):
    """Cut patches round random points near random landmarks, in the pose prediction will use, slightly disturbed.

    Adds ``patches{level}`` (P, S, S, S), of a film (P, S, S, 1), ``numbers{level}`` (P,) the landmarks' rows, and
    ``moves{level}`` (P, 3) from the patch's centre to the landmark in patch voxels (i, j, k); a row of NaN where a
    landmark is missing.

    Args:
        keys: volumes, ``MetaTensor`` (1, I, J, K) of any stored type.
        window: how stored numbers become 0 to 1.
        level: which refiner the patches are for.
        spacing_mm, size: of the patch.
        offset_mm: standard deviation of each component of the start's offset from the truth.
        count: P, patches to cut.
        shape: the shape model whose fitted frame gives the pose; None keeps the world's axes, over a film its own.
        tree: cut them near random neighbours of the landmarks instead, for a refiner that finds one landmark from
            another: ``numbers`` are then those of ``LandmarkTree.ways``, and a landmark beside the patch is missing.
        max_angle: radians, of the disturbance of the pose.
        zoom: its size is disturbed log-uniformly from 1 / (1 + zoom) to 1 + zoom.
    Source:
        Tan et al. 2020, sec. 2.2, draws the patch's centre at random in a small range round the first guess.

    >>> from monai.data import MetaTensor
    >>> from lmk3d.transforms.intensity import Window
    >>> image = MetaTensor(torch.rand(1, 20, 20, 20), affine=torch.eye(4))
    >>> cut = RandPatchesd("image", Window(0, 1), level=0, spacing_mm=1.0, size=8, offset_mm=2.0, count=5)
    >>> out = cut({"image": image, "coarse": image[0], "label": np.array([[9.0, 10, 11], [np.nan] * 3])})
    >>> out["patches0"].shape, out["moves0"].shape, out["numbers0"]
    (torch.Size([5, 8, 8, 8]), torch.Size([5, 3]), tensor([0, 0, 0, 0, 0]))
    """

    def __init__(  # noqa: PLR0913 - each is a setting of the bundle
        self,
        keys: KeysCollection,
        window: Window | EqualizedWindow,
        *,
        level: int,
        spacing_mm: float,
        size: int,
        offset_mm: float,
        count: int,
        shape: ShapeModel | None = None,
        tree: LandmarkTree | None = None,
        max_angle: float = 0.1,
        zoom: float = 0.05,
        points_key: str = "label",
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)
        self.window, self.level, self.spacing_mm, self.size = window, level, spacing_mm, size
        self.offset_mm, self.count, self.shape, self.tree = offset_mm, count, shape, tree
        self.max_angle, self.zoom, self.points_key = max_angle, zoom, points_key

    def drawn_pose(self, volume: Grid, points_mm: NDArray[np.float64], *, mirrored: bool) -> NDArray[np.float64]:
        """(3, 3) the disturbed pose of the patches."""
        size = np.exp(self.R.uniform(-1, 1) * np.log1p(self.zoom))
        pose = canonical_pose(self.shape, points_mm, mirrored=mirrored) @ volume.upright
        return size * disturbed_pose(pose, volume, self.R, self.max_angle)

    def _drawn_ways(self, there: NDArray[np.bool_]) -> tuple[NDArray[np.intp], ...]:
        """Rows that patches are cut near, rows that are looked for in them, and the numbers to tell the refiner."""
        if self.tree is not None:
            ways = np.array(self.tree.ways()).reshape(-1, 3)
            usable = ways[there[ways[:, 0]] & there[ways[:, 1]]]
            ways = usable if len(usable) else ways
            begins, ends, numbers = ways[self.R.randint(len(ways), size=self.count)].T
            return begins, ends, numbers
        pool = np.flatnonzero(there) if there.any() else np.arange(len(there))
        rows = self.R.permutation(np.resize(self.R.permutation(pool), max(self.count, len(pool))))[: self.count]
        return rows, rows, rows

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        points = np.asarray(out[self.points_key])
        for key in self.key_iterator(out):
            volume, grid = out[key].as_tensor()[0], Grid.of(out[key])
            pose = self.drawn_pose(grid, points, mirrored=out.get("mirrored", False))
            begins, ends, numbers = self._drawn_ways(grid.contains(points))
            frame = np.clip(self.R.normal(size=(self.count, 3)), -2.5, 2.5) * self.offset_mm / self.spacing_mm
            frame[:, np.equal(grid.shape, 1)] = 0  # nothing lies beside a film
            known = np.isfinite(points[begins]).all(1) & np.isfinite(points[ends]).all(1)
            near = np.where(known[:, None], points[begins], grid.center_mm)
            starts = near - frame @ (pose * self.spacing_mm).T
            targets = [patch_grid(grid, start, pose, self.size, self.spacing_mm) for start in starts]
            limits = self.window.limits(out["coarse"])
            out[f"patches{self.level}"] = cut_patches(volume, grid, targets, self.window, limits, out.get("waves"))
            out[f"numbers{self.level}"] = torch.as_tensor(numbers)
            way = (points[ends] - near) @ np.linalg.inv(pose * self.spacing_mm).T  # of a landmark itself none
            moves = np.where(known[:, None], frame + way, np.nan)
            if self.tree is not None:
                moves[np.abs(moves).max(1) > self.size / 2] = np.nan
            out[f"moves{self.level}"] = torch.as_tensor(moves, dtype=torch.float32)
        return out
