"""SpatialConfiguration-Net: local maps times maps of where the landmarks lie among each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lmk3d.networks.blocks import conv, resized, shrunk
from lmk3d.networks.unet import HeatmapUNet

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SpatialConfigurationNet"]


class SpatialConfigurationNet(nn.Module):
    """Two parts whose maps are multiplied: what a place looks like, and where it lies among the other landmarks.

    Args:
        num_landmarks: N.
        channels: widths of the local part's U-Net; every side of the input must be a multiple of ``divisor``.
        width: channels of the configuration's convolutions.
        kernel: their side in voxels of the coarse maps (11 in the paper).
        stride: the configuration's maps are this many times coarser than the image (16 in the paper).
        local_stride: the maps themselves are, as ``stride`` of ``HeatmapUNet``; 1 in the paper.
        spatial_dims: 2 or 3.
        norm: of the U-Net; the configuration has none.
    Source:
        Payer et al. 2019, sec. 3: product of local appearance and spatial configuration, tanh at the end. Our local
        part is the U-Net that the other networks share, with max pooling and widths of its own.

    >>> network = SpatialConfigurationNet(5, channels=(4, 8), width=8, kernel=3, stride=8)
    >>> network(torch.zeros(1, 1, 16, 24)).shape
    torch.Size([1, 5, 16, 24])
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        channels: Sequence[int] = (32, 64, 64, 64),
        width: int = 64,
        kernel: int = 11,
        stride: int = 16,
        local_stride: int = 1,
        spatial_dims: int = 2,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        self.local = HeatmapUNet(
            num_landmarks, channels=channels, spatial_dims=spatial_dims, norm=norm, stride=local_stride
        )
        self.divisor = max(stride, self.local.divisor)
        self.stride = stride
        layers: list[nn.Module] = []
        for inputs, outputs in ((num_landmarks, width), (width, width), (width, width)):
            layers += [conv(spatial_dims, inputs, outputs, kernel), nn.LeakyReLU(0.1)]
        self.configure = nn.Sequential(*layers)
        self.out = conv(spatial_dims, width, num_landmarks, kernel)
        with torch.no_grad():
            self.out.bias.fill_(1.0)  # type: ignore[operator] # the product begins as the local maps

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, ...) image to (B, N, ...) heights, the product of both parts, ``local_stride`` times coarser."""
        local = self.local(x)
        coarse = shrunk(local, [side // self.stride for side in list(x.shape[2:])])
        return local * resized(torch.tanh(self.out(self.configure(coarse))), list(local.shape[2:]))
