"""Heatmaps times coordinates: a U-Net's maps, weighed by how near each voxel is to a regressed point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from lmk3d.networks.blocks import conv, norm_layer, resized, shrunk
from lmk3d.networks.unet import HeatmapUNet

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HeatmapCoordinateNet"]

_GAIN = 10.0  # a sigma has to fall by a factor of ten while weights change by hundredths


class HeatmapCoordinateNet(nn.Module):
    """A U-Net beside an Xception trunk with a fully connected head; both look at the same image.

    Args:
        num_landmarks: N.
        channels: widths of the U-Net's levels; every side of the input must be a multiple of ``divisor``.
        stride: the U-Net's maps are this many times coarser than the image (1 in the paper).
        trunk: widths of the trunk's steps, each halving the sides (128, 256, 728 in Xception's entry).
        middle: separable blocks of the last width that follow (8 in Xception).
        trunk_size: sides in pixels the trunk sees the image at (299, 299 in the paper).
        hidden: width of the fully connected layer.
        sigma: of the coordinates' Gaussian, in image sides; where ``learnt``, what it begins at, better too wide
            than too narrow: untrained coordinates with a narrow Gaussian wipe out the right peak.
        learnt: one sigma for each landmark, learnt with the weights, instead of one fixed.
        widen: learnt sigmas are multiplied by this in the product: coordinates err more on images that the training has
            not seen, and too narrow a Gaussian takes the right peak away (1 in the paper).
        product: multiply; False gives the U-Net's maps alone, to compare with.
        softmax: the U-Net's logits are those of a softmax over all places; else each is that of a sigmoid, as in the
            paper. With a softmax the Gaussians weigh probabilities, and what comes out are logits again.
        norm: behind the convolutions ("batch" in the paper).
    Source:
        Heatmap x coordinate regression 2021, figs. 4, 5 and 9; the trunk is Chollet 2017, fig. 5, whose mean over all
        places becomes one over 4 x 4 parts: a mean over the image has no place left in it.

    >>> network = HeatmapCoordinateNet(5, channels=(4, 8), trunk=(8, 8), trunk_size=(16, 24), hidden=8)
    >>> network(torch.zeros(1, 1, 16, 24)).shape
    torch.Size([1, 5, 16, 24])
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        channels: Sequence[int] = (16, 32, 64, 128),
        stride: int = 1,
        trunk: Sequence[int] = (32, 64, 128),
        middle: int = 2,
        trunk_size: Sequence[int] = (128, 128),
        hidden: int = 128,
        sigma: float = 0.3,
        learnt: bool = True,
        widen: float = 2.0,
        product: bool = True,
        softmax: bool = False,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        self.unet = HeatmapUNet(num_landmarks, channels=channels, stride=stride, spatial_dims=2, norm=norm)
        self.divisor = self.unet.divisor
        if not softmax:  # nearly empty, as most of a target is
            nn.init.constant_(self.unet.head.bias, -4.0)  # type: ignore[arg-type]
        self.softmax = softmax
        self.trunk_size, self.product, self.learnt = list(trunk_size), product, learnt
        first = max(1, trunk[0] // 4)
        layers: list[nn.Module] = []
        for inputs, outputs, step in ((1, first, 2), (first, 2 * first, 1)):
            layers += [
                conv(2, inputs, outputs, 3, stride=step, bias=norm == "none"),
                norm_layer(2, outputs, norm),
                nn.ReLU(),
            ]
        for inputs, outputs in zip([2 * first, *trunk], trunk, strict=False):
            layers.append(_Separable(inputs, outputs, depth=2, stride=2, norm=norm))
        layers += [_Separable(trunk[-1], trunk[-1], depth=3, stride=1, norm=norm) for _ in range(middle)]
        self.trunk = nn.Sequential(*layers)
        # Leaky: a step moves a unit of so many inputs so far that plain ones all die and films get the same points.
        self.regress = nn.Sequential(
            nn.Linear(16 * trunk[-1], hidden), nn.LeakyReLU(0.1), nn.Linear(hidden, 2 * num_landmarks)
        )
        nn.init.constant_(self.regress[-1].bias, 0.5)  # type: ignore[arg-type] # points begin in the image's middle
        self.gain, self.widen = _GAIN, widen if learnt else 1.0  # TorchScript knows no globals
        self.widths = nn.Parameter(torch.full((num_landmarks,), math.log(sigma) / _GAIN), requires_grad=learnt)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) image to (B, N, ...) logarithms of heights (or logits): of the maps times the Gaussians."""
        maps, points = self.with_points(x)
        logs = maps if self.softmax else functional.logsigmoid(maps)
        return logs + self.log_gaussians(points, maps) if self.product else logs

    def with_points(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The U-Net's logits (B, N, ...) and the points (B, N, 2) along H and W, in image sides: 0 to 1 inside."""
        size = self.trunk_size
        small = shrunk(x, size) if x.shape[2] > size[0] and x.shape[3] > size[1] else resized(x, size)
        features = shrunk(self.trunk(small), [4, 4])
        return self.unet(x), self.regress(features.flatten(1)).reshape(len(x), -1, 2).float()

    def log_sigma(self) -> Tensor:
        """(N,) logarithms of the landmarks' sigmas, in image sides."""
        return self.gain * self.widths

    def log_gaussians(self, points: Tensor, maps: Tensor) -> Tensor:
        """Logarithms of the Gaussians (peak 1) round points (B, N, 2) in image sides, on the grid of the maps.

        A step counts alike along both axes: in units of the longer side.
        """
        rows, columns = maps.shape[2], maps.shape[3]
        longer = float(max(rows, columns))
        i = (torch.arange(rows, device=maps.device) + 0.5) / rows
        j = (torch.arange(columns, device=maps.device) + 0.5) / columns
        down = ((i - points[:, :, :1]) * (rows / longer)) ** 2
        across = ((j - points[:, :, 1:]) * (columns / longer)) ** 2
        variance = self.widen**2 * torch.exp(2 * self.log_sigma())[None, :, None, None]
        return -(down[:, :, :, None] + across[:, :, None]) / (2 * variance)


class _Separable(nn.Module):
    """Separable convolutions beside a 1x1 shortcut, then half the sides (Chollet 2017, fig. 5)."""

    def __init__(self, inputs: int, outputs: int, *, depth: int, stride: int, norm: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(depth):
            width = inputs if number == 0 else outputs
            layers += [
                nn.ReLU(),
                conv(2, width, width, 3, groups=width, bias=False),
                conv(2, width, outputs, 1, bias=False),
            ]
            layers.append(norm_layer(2, outputs, norm))
        if stride > 1:
            layers.append(nn.MaxPool2d(3, stride=stride, padding=1))
        self.layers = nn.Sequential(*layers)
        same = inputs == outputs and stride == 1
        self.short = nn.Identity() if same else conv(2, inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.short(x)
