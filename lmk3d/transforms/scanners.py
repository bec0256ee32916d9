"""Random appearances: what another scanner, sequence or protocol would have shown of the same anatomy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.transforms import MapTransform, RandomizableTransform
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from monai.config import KeysCollection
    from torch import Tensor

__all__ = ["RandConvolutionsd", "RandLowResolutiond"]

_LAYERS, _WIDTH = 4, 2


class RandConvolutionsd(RandomizableTransform, MapTransform):
    """Mix an image with what a small network of random weights makes of it: tissues change their order of brightness.

    A detector that is trained so looks for shapes and edges, since the brightness of a tissue tells it nothing; it
    then works on sequences that it was never shown.

    Args:
        keys: images of 0 to 1, (1, I, J, K); with a leading axis of patches (P, I, J, K) all are changed alike.
        prob: how often.
    Source:
        Ouyang et al. 2022, "Causality-inspired single-source domain generalization for medical image segmentation",
        global intensity non-linear augmentation: four layers of two channels, kernels of 1 or 3 voxels, leaky ReLU, a
        random mixture with the image. Here the kernels are symmetric, since others would move what they show, and the
        result is stretched to 0 to 1 by its percentiles, as images are.

    >>> image = torch.rand(1, 8, 8, 8)
    >>> changed = RandConvolutionsd("image", prob=1.0).set_random_state(0)({"image": image})["image"]
    >>> changed.shape, bool(((changed >= 0) & (changed <= 1)).all())
    (torch.Size([1, 8, 8, 8]), True)
    """

    def __init__(self, keys: KeysCollection, *, prob: float = 0.5) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            self.randomize(None)
            if self._do_transform:
                out[key] = self._changed(out[key])
        return out

    def _changed(self, image: Tensor) -> Tensor:
        flat = image.shape[-1] == 1
        x = torch.as_tensor(image)[:, None].float()
        mixed = x
        for layer in range(_LAYERS):
            inputs, outputs = 1 if layer == 0 else _WIDTH, 1 if layer == _LAYERS - 1 else _WIDTH
            side = int(self.R.choice([1, 3]))
            sides = (side, side, 1 if flat else side)
            weights = torch.as_tensor(self.R.normal(size=(outputs, inputs, *sides)), dtype=torch.float32)
            weights = weights + weights.flip((2, 3, 4))  # symmetric: an edge stays where it is
            shift = torch.as_tensor(self.R.normal(size=outputs), dtype=torch.float32)
            mixed = functional.conv3d(mixed, weights, shift, padding=[one // 2 for one in sides])
            if layer < _LAYERS - 1:
                mixed = functional.leaky_relu(mixed)
        share = float(self.R.uniform())
        mixed = share * mixed / mixed.norm().clamp_min(1e-6) * x.norm() + (1 - share) * x
        return _stretched(mixed[:, 0])


def _stretched(image: Tensor) -> Tensor:
    """An image to 0 to 1, from its 0.5 to its 99.5 percentile."""
    some = image.flatten()[:: max(1, image.numel() // 2**15)]
    low, high = torch.quantile(some, torch.tensor([0.005, 0.995])).tolist()
    return ((image - low) / max(high - low, 1e-6)).clamp(0, 1)


class RandLowResolutiond(RandomizableTransform, MapTransform):
    """Show an image as thick slices along one of its axes would: averaged over blocks, then interpolated.

    Args:
        keys: images (C, I, J, K).
        factor: the most voxels that become one slice.
        prob: how often.

    >>> image = torch.ones(1, 8, 8, 8)
    >>> RandLowResolutiond("image", prob=1.0).set_random_state(0)({"image": image})["image"].shape
    torch.Size([1, 8, 8, 8])
    """

    def __init__(self, keys: KeysCollection, *, factor: float = 3.0, prob: float = 0.3) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.factor = factor

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            self.randomize(None)
            if not self._do_transform:
                continue
            image = torch.as_tensor(out[key])
            shape = list(image.shape[1:])
            axis = int(self.R.randint(sum(side > 1 for side in shape)))
            coarse = list(shape)
            coarse[axis] = max(2, round(shape[axis] / self.R.uniform(1, self.factor)))
            small = functional.interpolate(image[None].float(), size=coarse, mode="area")
            out[key] = functional.interpolate(small, size=shape, mode="trilinear", align_corners=False)[0]
        return out
