"""LandmarkNet: a double feature pyramid with intermediate maps and a gate over the landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from lmk3d.networks.blocks import ChannelGate, conv, head, norm_layer, resized

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LandmarkNet"]


class LandmarkNet(nn.Module):
    """Residual stages going down, a pyramid going up, every level of it supervised and then seen by one head.

    Args:
        num_landmarks: N classes of landmarks; each may stand in an image several times or not at all.
        widths: channels of the stages; the first is 4 times coarser than the image, each next one twice the last.
        depths: bottleneck blocks of each stage.
        lateral: channels of the pyramid.
        level: channels that each level gives to the head.
        stride: the maps are this many times coarser than the image (1 in the paper).
        spatial_dims: 2 or 3.
        norm: behind every convolution of the stages ("batch" in the paper's ResNet).
    Source:
        LandmarkNet 2020, fig. 2; widths 256 to 2048, depths 3, 4, 6, 3, lateral 256 and level 128.

    >>> network = LandmarkNet(5, widths=(8, 16), depths=(1, 1), lateral=8, level=8)
    >>> network(torch.zeros(1, 1, 16, 24)).shape
    torch.Size([1, 5, 16, 24])
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        widths: Sequence[int] = (256, 512, 1024, 2048),
        depths: Sequence[int] = (3, 4, 6, 3),
        lateral: int = 256,
        level: int = 128,
        stride: int = 1,
        spatial_dims: int = 2,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        if len(widths) != len(depths):
            raise ValueError(f"widths and depths must be of one length, got {len(widths)} and {len(depths)}")
        self.divisor = max(stride, 2 ** (len(widths) + 1))
        self.stride = stride
        first = max(1, widths[0] // 4)
        self.stem = nn.Sequential(
            conv(spatial_dims, 1, first, 7, stride=2, bias=norm == "none"),
            norm_layer(spatial_dims, first, norm),
            nn.ReLU(),
            {2: nn.MaxPool2d, 3: nn.MaxPool3d}[spatial_dims](3, stride=2, padding=1),
        )
        self.stages = nn.ModuleList()
        for number, (inputs, width, depth) in enumerate(zip([first, *widths], widths, depths, strict=False)):
            blocks = [_Bottleneck(spatial_dims, inputs, width, stride=2 if number else 1, norm=norm)]
            blocks += [_Bottleneck(spatial_dims, width, width, norm=norm) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
        deep_first = list(widths)[::-1]
        self.lateral = nn.ModuleList(conv(spatial_dims, width, lateral, 1) for width in deep_first)
        self.sides = nn.ModuleList(conv(spatial_dims, lateral, num_landmarks, 1) for _ in widths)
        self.levels = nn.ModuleList(
            nn.Sequential(
                conv(spatial_dims, lateral, level, 3), nn.ReLU(), conv(spatial_dims, level, level, 3), nn.ReLU()
            )
            for _ in widths
        )
        merged = level * len(widths)
        self.merge = nn.Sequential(conv(spatial_dims, merged, level, 3), nn.ReLU())
        self.head = head(spatial_dims, level, num_landmarks)
        self.gate = ChannelGate(merged, num_landmarks)
        for layer in (*self.sides, self.head):  # maps begin nearly empty, as most of a target is
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, ...) image to (B, N, ...) heights, ``stride`` times coarser."""
        return self.with_sides(x)[-1]

    def with_sides(self, x: Tensor) -> list[Tensor]:
        """Each level's own maps from deep to shallow, each half as fine as the next, then the maps themselves."""
        sides = list(x.shape[2:])
        if max([side % self.divisor for side in sides]) > 0:  # a list: TorchScript knows no generators
            raise ValueError(f"every side must be a multiple of {self.divisor}, got {sides}; pad the image")
        size = [side // self.stride for side in sides]
        x = self.stem(x)
        down: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            down.append(x)
        outputs: list[Tensor] = []
        seen: list[Tensor] = []
        up = self.lateral[0](down[-1])
        for number, (lateral, side, level) in enumerate(zip(self.lateral, self.sides, self.levels)):  # noqa: B905
            if number > 0:
                up = lateral(down[len(down) - 1 - number]) + functional.interpolate(up, scale_factor=2.0)
            outputs.append(side(up))
            seen.append(resized(level(up), size))
        features = torch.cat(seen, dim=1)
        maps = self.head(self.merge(features))
        gate = self.gate(features)
        outputs.append((maps.flatten(2) * gate[:, :, None]).reshape(maps.shape))
        return outputs


class _Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut (He 2016, fig. 5)."""

    def __init__(self, spatial_dims: int, inputs: int, outputs: int, *, stride: int = 1, norm: str) -> None:
        super().__init__()
        inner, bias = max(1, outputs // 4), norm == "none"
        self.layers = nn.Sequential(
            conv(spatial_dims, inputs, inner, 1, bias=bias),
            norm_layer(spatial_dims, inner, norm),
            nn.ReLU(),
            conv(spatial_dims, inner, inner, 3, stride=stride, bias=bias),
            norm_layer(spatial_dims, inner, norm),
            nn.ReLU(),
            conv(spatial_dims, inner, outputs, 1, bias=bias),
            norm_layer(spatial_dims, outputs, norm),
        )
        same = inputs == outputs and stride == 1
        self.short = nn.Identity() if same else conv(spatial_dims, inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x) + self.short(x))
