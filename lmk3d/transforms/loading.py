"""Dict transforms that bring a case into memory: its volume in the stored type, its landmarks in world mm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from lmk3d.geometry import Grid
from lmk3d.io import read_image, read_points
from lmk3d.transforms.sampling import block_factors, block_means, stored_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from monai.config import KeysCollection
    from numpy.typing import NDArray

    from lmk3d.landmarks import Landmarks
    from lmk3d.synthetic import FilmPhantom, Phantom

__all__ = ["BlockMeansd", "LoadCased", "points_of"]


class LoadCased(Transform):
    """Read one case of a data list: a file of an image and one of points, or a phantom made on the spot.

    The image becomes a ``MetaTensor`` (1, I, J, K) of the stored type with its affine in RAS mm; the points become
    (N, 3) float64 world RAS mm, one row for each of ``names``, NaN where one is missing.

    Args:
        names: the landmarks' names, in order.
        instances: M, how many points of one name there may be; above 1 the points become (N, M, 3), the rest NaN.
        image_key, label_key: where the file names stand. An image that is a mapping holds the arguments of
            ``lmk3d.synthetic.film_phantom`` if it has a "kind", else of ``cta_phantom``, and needs no label. "series"
            and "spacing_mm", where they are there, go to ``read_image``.
        side_px: films without a spacing are brought to one size: their longest side is taken to measure this much, in
            the image's affine and in the points; None leaves them in their own pixels.
    Raises:
        InputError: as ``lmk3d.io.read_image`` and ``read_points``.

    >>> case = {"image": {"seed": 0, "spacing_mm": 8.0}}  # a phantom; else "image" and "label" are paths
    >>> loaded = LoadCased(["aortic_annulus", "apex"])(case)
    >>> loaded["image"].shape[0], loaded["label"].shape
    (1, (2, 3))
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        instances: int = 1,
        image_key: str = "image",
        label_key: str = "label",
        side_px: float | None = None,
    ) -> None:
        self.names, self.instances, self.side_px = tuple(names), instances, side_px
        self.image_key, self.label_key = image_key, label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        if isinstance(out[self.image_key], dict):
            phantom = _drawn(out[self.image_key])
            volume, points = phantom.volume, phantom.landmarks
        else:
            volume = read_image(out[self.image_key], series=out.get("series"), spacing_mm=out.get("spacing_mm"))
            points = read_points(out[self.label_key], image=lambda: volume)
        factor = volume.factor_to(self.side_px)
        affine = torch.as_tensor(volume.grid.scaled(factor).affine.copy())
        out[self.image_key] = MetaTensor(stored_tensor(volume)[None], affine=affine)
        found = self._instances(points) if self.instances > 1 else points.ordered(self.names).points_mm
        out[self.label_key] = factor * found
        return out

    def _instances(self, points: Landmarks) -> NDArray[np.float64]:
        found = np.full((len(self.names), self.instances, 3), np.nan)
        for row, name in enumerate(self.names):
            own = points[name][: self.instances]
            found[row, : len(own)] = own
        return found


def points_of(case: Mapping[str, Any]) -> Landmarks:
    """The landmarks of one case of a data list, without its image where they lie in a file."""
    if isinstance(case["image"], dict):
        return _drawn(case["image"]).landmarks
    return read_points(
        case["label"],
        image=lambda: read_image(case["image"], series=case.get("series"), spacing_mm=case.get("spacing_mm")),
    )


def _drawn(arguments: Mapping[str, Any]) -> FilmPhantom | Phantom:
    """The phantom of these arguments: of a film where they name a kind."""
    from lmk3d.synthetic import cta_phantom, film_phantom

    make: Callable[..., FilmPhantom | Phantom] = film_phantom if "kind" in arguments else cta_phantom
    return make(**arguments)


class BlockMeansd(MapTransform):
    """Add the volume averaged over blocks to about ``spacing_mm``, which the first stage is sampled from.

    Args:
        keys: the volumes, ``MetaTensor`` (1, I, J, K).
        spacing_mm: of the first stage's input.
        output: key of the result, a float32 ``MetaTensor`` whose affine has the blocks' half-voxel shift.

    >>> image = MetaTensor(torch.zeros(1, 8, 8, 8), affine=torch.eye(4))
    >>> coarse = BlockMeansd("image", 4.0)({"image": image})["coarse"]
    >>> coarse.shape, Grid.of(coarse).to_mm([0, 0, 0])
    (torch.Size([1, 2, 2, 2]), array([1.5, 1.5, 1.5]))
    """

    def __init__(self, keys: KeysCollection, spacing_mm: float, *, output: str = "coarse") -> None:
        super().__init__(keys)
        self.spacing_mm, self.output = spacing_mm, output

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            grid = Grid.of(out[key])
            factors = block_factors(grid, self.spacing_mm)
            means = block_means(out[key].as_tensor()[0], factors)[None]
            out[self.output] = MetaTensor(means, affine=torch.as_tensor(grid.coarsened(factors).affine.copy()))
        return out
