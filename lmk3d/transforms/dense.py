"""Targets of a dense map to the template, drawn from the contours on the grid that the network sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.transforms import MapTransform

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection

    from lmk3d.codecs import DenseCodec, ShapeModel

__all__ = ["EncodeDensed"]


class EncodeDensed(MapTransform):
    """Add ``target`` (3 S, I, J, 1), masks and uv maps, and ``template_uv`` (N, 2); see ``DenseCodec.draw``.

    Args:
        keys: (N, 3) sub-voxel indices on the maps' grid.
        codec: draws them.
        shape: whose mean is the template.
        image_key: the network's input.
        stride: the maps are this many times coarser than it.
    """

    def __init__(
        self, keys: KeysCollection, codec: DenseCodec, shape: ShapeModel, *, image_key: str = "input", stride: int = 1
    ) -> None:
        super().__init__(keys)
        self.codec, self.shape, self.image_key, self.stride = codec, shape, image_key, stride

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        rows, columns = (side // self.stride for side in out[self.image_key].shape[1:3])
        for key in self.key_iterator(out):
            out["target"] = self.codec.draw(np.asarray(out[key]), (rows, columns, 1), self.shape.mean_mm)
            out["template_uv"] = torch.as_tensor(self.codec.template_uv(self.shape.mean_mm), dtype=torch.float32)
        return out
