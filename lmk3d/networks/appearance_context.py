"""Local appearance times global context: a U-Net with attention, and dilated convolutions that see the whole image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, cat, nn

from lmk3d.networks.blocks import conv, norm_layer, resized, shrunk
from lmk3d.networks.unet import HeatmapUNet

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AppearanceContextNet"]

_DILATIONS = (1, 2, 4, 8, 4, 2, 1)  # the paper names seven and no rates; these see 45 voxels, more than its 32


class AppearanceContextNet(nn.Module):
    """Two parts whose maps are multiplied: sharp local maps with several peaks, coarse maps that say which is meant.

    The context sees the local maps and the image itself, both at low resolution.

    Args:
        num_landmarks: N.
        channels: widths of the U-Net's levels; every side of the input must be a multiple of ``divisor``.
        width: filters of the seven dilated convolutions (128 in the paper).
        kernel: their sides (3 x 3; 5 x 3 for spines).
        stride: how many times coarser the context is, along each axis (16 gives the paper's 32 x 32 for 512 x 512).
        local_stride: how many times coarser the maps are, as ``stride`` of ``HeatmapUNet`` (1 in the paper).
        spatial_dims: 2 or 3.
        norm: behind every convolution ("batch" in the paper).
        logits: both parts are logits and are added, which multiplies the probabilities of a softmax; else they are
            heights and are multiplied, as in the paper.
    Source:
        Deep appearance-context network 2021, fig. 1. The attention is Woo's CBAM behind each block of both sides.

    >>> network = AppearanceContextNet(5, channels=(4, 8), width=8, stride=(8, 8))
    >>> network(torch.zeros(1, 1, 16, 24)).shape
    torch.Size([1, 5, 16, 24])
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        channels: Sequence[int] = (16, 32, 64, 128),
        width: int = 64,
        kernel: Sequence[int] = (3, 3),
        stride: Sequence[int] = (16, 16),
        local_stride: int = 1,
        spatial_dims: int = 2,
        norm: str = "instance",
        logits: bool = False,
    ) -> None:
        super().__init__()
        if not len(kernel) == len(stride) == spatial_dims:
            raise ValueError(f"kernel and stride need {spatial_dims} sides, got {list(kernel)} and {list(stride)}")
        self.local = HeatmapUNet(
            num_landmarks,
            channels=channels,
            spatial_dims=spatial_dims,
            norm=norm,
            stride=local_stride,
            attention=True,
        )
        self.divisor = self.local.divisor
        self.stride, self.logits = list(stride), logits
        layers: list[nn.Module] = []
        for number, dilation in enumerate(_DILATIONS):
            inputs = num_landmarks + 1 if number == 0 else width
            layers += [conv(spatial_dims, inputs, width, kernel, dilation=dilation, bias=norm == "none")]
            layers += [norm_layer(spatial_dims, width, norm), nn.ReLU()]
        self.context = nn.Sequential(*layers)
        self.out = conv(spatial_dims, width, num_landmarks, 1)
        with torch.no_grad():  # the product begins as the local maps
            self.out.bias.fill_(0.0 if logits else 1.0)  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, ...) image to (B, N, ...) heights, or logits, of the product, ``local_stride`` times coarser."""
        local = self.local(x)
        size: list[int] = []
        for side, stride in zip(list(x.shape[2:]), self.stride):  # noqa: B905 - TorchScript does not know strict
            size.append(max(1, side // stride))
        coarse = cat([shrunk(local, size), shrunk(x, size)], dim=1)
        context = resized(self.out(self.context(coarse)), list(local.shape[2:]))
        return local + context if self.logits else local * context
