"""The heatmap U-Net of the cascade's first stage, with side outputs for deep supervision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, cat, nn

from lmk3d.networks.blocks import Attention, ConvBlock, Upsample, conv, head, max_pool, patchify

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HeatmapUNet"]


class HeatmapUNet(nn.Module):
    """A U-Net from an image to one map of logits for each output channel.

    The last layer is a 1x1(x1) convolution on a fixed width, so that the cost hardly grows with the landmarks.

    Args:
        num_outputs: landmarks, and one more where the target has a background channel.
        channels: width of each level, finest first; every side of the input must be a multiple of 2^(levels - 1).
        spatial_dims: 2 or 3.
        norm: "instance", "batch", or "none" as in the paper.
        stride: the logits are this many times coarser than the image: the first convolution strides over the finer
            voxels, which costs little and lets a coarse map see fine detail. 1 as in the paper, or an even number.
        num_sides: how many of the decoder's coarser levels also give an output (3 in the paper; 0 needs no weights).
        attention: weigh channels and voxels behind every block, as the local part of ``AppearanceContextNet`` does.
    Source:
        Tan et al. 2020, sec. 2.1 and fig. 2: 'same' convolutions, max pooling, transposed convolutions, skips, three
        side paths. The paper names no widths.

    >>> import torch
    >>> network = HeatmapUNet(5, channels=(4, 8), stride=2)
    >>> network.divisor
    4
    >>> network(torch.zeros(1, 1, 16, 16, 8)).shape
    torch.Size([1, 5, 8, 8, 4])
    """

    def __init__(
        self,
        num_outputs: int,
        *,
        channels: Sequence[int] = (16, 32, 64, 128),
        spatial_dims: int = 3,
        norm: str = "instance",
        stride: int = 1,
        num_sides: int = 0,
        attention: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= num_sides < len(channels):
            raise ValueError(f"num_sides must be 0 to {len(channels) - 1} with {len(channels)} levels, got {num_sides}")
        self.stride = stride
        self.divisor = stride * 2 ** (len(channels) - 1)
        widths = list(channels)
        self.stem = patchify(spatial_dims, 1, widths[0], stride) if stride > 1 else nn.Identity()

        def block(inputs: int, outputs: int) -> nn.Module:
            plain = ConvBlock(spatial_dims, inputs, outputs, norm=norm)
            return nn.Sequential(plain, Attention(spatial_dims, outputs)) if attention else plain

        self.encoder = nn.ModuleList(
            block(inputs, outputs)
            for inputs, outputs in zip([widths[0] if stride > 1 else 1, *widths], widths, strict=False)
        )
        self.pool = max_pool(spatial_dims)
        pairs = list(zip(widths[1:], widths, strict=False))[::-1]
        self.grow = nn.ModuleList(Upsample(spatial_dims, deep, wide) for deep, wide in pairs)
        self.decoder = nn.ModuleList(block(2 * wide, wide) for _, wide in pairs)
        self.head = head(spatial_dims, widths[0], num_outputs)
        self.sides = nn.ModuleList(
            conv(spatial_dims, widths[level], num_outputs, 1) for level in range(num_sides, 0, -1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, ...) image to (B, num_outputs, ...) logits, ``stride`` times coarser."""
        return self.with_sides(x)[-1]

    def with_sides(self, x: Tensor) -> list[Tensor]:
        """The side outputs from deep to shallow, each half as fine as the next, then the output itself."""
        sides = list(x.shape[2:])
        if max([side % self.divisor for side in sides]) > 0:  # a list: TorchScript knows no generators
            raise ValueError(f"every side must be a multiple of {self.divisor}, got {sides}; pad the image")
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(self.stem(x) if level == 0 else self.pool(x))
            skips.append(x)
        skips.pop()
        decoded = [x]
        for grow, block in zip(self.grow, self.decoder):  # noqa: B905 - nor does it know strict
            x = block(cat([grow(x), skips.pop()], dim=1))
            decoded.append(x)
        outputs: list[Tensor] = []
        for number, side in enumerate(self.sides):
            outputs.append(side(decoded[len(decoded) - 1 - len(self.sides) + number]))
        outputs.append(self.head(x))
        return outputs
