"""A residual U-Net: with two heads for dense shapes, with one for heatmaps, which is what the former is measured by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lmk3d.networks.blocks import Upsample, conv, head, norm_layer, patchify

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DenseShapeNet", "ResidualHeatmapNet"]


class _ResidualUNet(nn.Module):
    """What both networks share: from an image to as many features a pixel as the finest level has, and their heads."""

    def __init__(self, channels: Sequence[int], units: int, stride: int, spatial_dims: int, norm: str) -> None:
        super().__init__()
        self.widths, self.units, self.stride, self.dims, self.norm = list(channels), units, stride, spatial_dims, norm
        self.divisor = stride * 2 ** (len(channels) - 1)
        widths = self.widths
        self.stem = conv(spatial_dims, 1, widths[0], 3) if stride == 1 else patchify(spatial_dims, 1, widths[0], stride)
        self.encoder = nn.ModuleList()
        for number, (inputs, outputs) in enumerate(zip([widths[0], *widths], widths, strict=False)):
            first = _Residual(spatial_dims, inputs, outputs, stride=2 if number else 1, norm=norm)
            rest = [_Residual(spatial_dims, outputs, outputs, norm=norm) for _ in range(units - 1)]
            self.encoder.append(nn.Sequential(first, *rest))
        pairs = list(zip(widths[1:], widths, strict=False))[::-1]
        self.grow = nn.ModuleList(Upsample(spatial_dims, deep, wide) for deep, wide in pairs)
        self.decoder = nn.ModuleList()
        for _, wide in pairs:
            rest = [_Residual(spatial_dims, wide, wide, norm=norm) for _ in range(units - 1)]
            self.decoder.append(nn.Sequential(_Residual(spatial_dims, 2 * wide, wide, norm=norm), *rest))

    def make_head(self, outputs: int) -> nn.Sequential:
        """Residual units and a convolution of one pixel, from the features to so many maps."""
        wide = self.widths[0]
        steps = [_Residual(self.dims, wide, wide, norm=self.norm) for _ in range(self.units)]
        return nn.Sequential(*steps, head(self.dims, wide, outputs))

    def features(self, x: Tensor) -> Tensor:
        """(B, 1, ...) image to (B, C, ...), ``stride`` times coarser."""
        sides = list(x.shape[2:])
        if max([side % self.divisor for side in sides]) > 0:  # a list: TorchScript knows no generators
            raise ValueError(f"every side must be a multiple of {self.divisor}, got {sides}; pad the image")
        x = self.stem(x)
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        skips.pop()
        for grow, block in zip(self.grow, self.decoder):  # noqa: B905 - TorchScript does not know strict
            x = block(torch.cat([grow(x), skips.pop()], dim=1))
        return x


class DenseShapeNet(_ResidualUNet):
    """One map of mask logits and two uv maps for each structure, however many landmarks lie on it.

    Args:
        num_structures: S.
        channels: widths of the levels, finest first; every side of the input must be a multiple of ``divisor``.
        units: residual units of each step and each head (2 in the paper).
        stride: the maps are this many times coarser than the image (1 in the paper).
        spatial_dims: 2 or 3.
        norm: of every unit.
    Source:
        DenseSeg 2024, sec. 3.3 and fig. 2. Its 6.4 million weights are MONAI's UNet with four levels of 64 to 512
        channels; our steps are plain residual blocks, of 16 million weights for these widths and 3.6 for the default.

    >>> network = DenseShapeNet(2, channels=(4, 8), units=1)
    >>> network(torch.zeros(1, 1, 16, 24)).shape
    torch.Size([1, 6, 16, 24])
    """

    def __init__(
        self,
        num_structures: int,
        *,
        channels: Sequence[int] = (32, 64, 96, 128, 160),
        units: int = 2,
        stride: int = 1,
        spatial_dims: int = 2,
        norm: str = "instance",
    ) -> None:
        super().__init__(channels, units, stride, spatial_dims, norm)
        self.mask, self.uv = self.make_head(num_structures), self.make_head(2 * num_structures)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, ...) image to (B, 3 S, ...): S mask logits, then S maps of u and S of v, ``stride`` times coarser."""
        x = self.features(x)
        return torch.cat([self.mask(x), self.uv(x)], dim=1)


class ResidualHeatmapNet(_ResidualUNet):
    """The same U-Net with one head that draws a heatmap for each landmark.

    Args:
        num_landmarks: N.
        channels, units, stride, spatial_dims, norm: as for ``DenseShapeNet``.
    Source:
        DenseSeg 2024, sec. 3.3, "heatmap regression": the paper's own baseline.

    >>> network = ResidualHeatmapNet(5, channels=(4, 8), units=1)
    >>> network(torch.zeros(1, 1, 16, 24)).shape
    torch.Size([1, 5, 16, 24])
    """

    # Spelled out again: a slip in a configuration is told from the network's own signature.
    def __init__(
        self,
        num_landmarks: int,
        *,
        channels: Sequence[int] = (32, 64, 96, 128, 160),
        units: int = 2,
        stride: int = 1,
        spatial_dims: int = 2,
        norm: str = "instance",
    ) -> None:
        super().__init__(channels, units, stride, spatial_dims, norm)
        self.maps = self.make_head(num_landmarks)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, ...) image to (B, N, ...) maps, ``stride`` times coarser."""
        return self.maps(self.features(x))


class _Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut (Zhang 2018, fig. 1), each with its norm and leaky ReLU."""

    def __init__(self, spatial_dims: int, inputs: int, outputs: int, *, stride: int = 1, norm: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, step in ((inputs, stride), (outputs, 1)):
            layers += [conv(spatial_dims, width, outputs, 3, stride=step, bias=norm == "none")]
            layers += [norm_layer(spatial_dims, outputs, norm), nn.LeakyReLU(0.01)]
        self.layers = nn.Sequential(*layers)
        same = inputs == outputs and stride == 1
        self.short = nn.Identity() if same else conv(spatial_dims, inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.short(x)
