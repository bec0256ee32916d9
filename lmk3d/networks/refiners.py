"""The second stage: networks that see a patch round a first guess and say how far the landmark lies from its centre.

Every refiner maps (P, 1, S, S, S) patches and the (P,) numbers of their landmarks to (P, 3) moves in patch voxels
(array order i, j, k) and (P,) log variances of a move's component in voxels squared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from lmk3d.networks.blocks import ConvBlock, Upsample, max_pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["HeatmapRefiner", "RegressionRefiner"]


class RegressionRefiner(nn.Module):
    """One small convolutional network for each landmark, ending in a bounded displacement.

    Args:
        num_landmarks: networks to hold; none shares a weight with another.
        patch_size: voxels along each side of the cubic patch, a multiple of 16.
        channels: filters of the four convolutions; the paper names none.
        hidden: width of the first fully connected layer.
        max_move_vox: bound of each component of the move, by a scaled tanh.
    Source:
        Tan et al. 2020, sec. 2.2 and fig. 3: four times convolution, ReLU, max pooling; two fully connected layers, the
        last one linear. "Restricted to a small range" is read as a smooth bound, which keeps its gradient.
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        patch_size: int = 64,
        channels: Sequence[int] = (16, 32, 64, 64),
        hidden: int = 128,
        max_move_vox: float = 16.0,
    ) -> None:
        super().__init__()
        factor = 2 ** len(channels)
        if patch_size % factor:
            raise ValueError(f"patch_size must be a multiple of {factor}, got {patch_size}")
        self.max_move_vox = max_move_vox
        flat = channels[-1] * (patch_size // factor) ** 3
        self.networks = nn.ModuleList()
        for _ in range(num_landmarks):
            layers: list[nn.Module] = []
            for inputs, outputs in zip([1, *channels], channels, strict=False):
                layers += [nn.Conv3d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2)]
            layers += [nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, 3)]
            self.networks.append(nn.Sequential(*layers))
        self.log_variance = nn.Parameter(torch.zeros(num_landmarks))

    def forward(self, patches: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        moves = patches.new_zeros(len(patches), 3)
        for number, network in enumerate(self.networks):
            own = landmarks == number
            if own.any():
                moves[own] = network(patches[own]).to(moves.dtype)  # half, where autocast says so
        return self.max_move_vox * torch.tanh(moves / self.max_move_vox), self.log_variance[landmarks]


class _Modulated(nn.Module):
    """A block whose channels are scaled and shifted by what the landmark's number says (FiLM, Perez 2018)."""

    def __init__(self, num_landmarks: int, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.block = ConvBlock(3, inputs, outputs, stride=stride)
        self.modulation = nn.Embedding(num_landmarks, 2 * outputs)
        nn.init.normal_(self.modulation.weight, std=0.1)

    def forward(self, x: Tensor, landmarks: Tensor) -> Tensor:
        scale, shift = self.modulation(landmarks)[..., None, None, None].chunk(2, dim=1)
        return self.block(x) * (1 + scale) + shift


class HeatmapRefiner(nn.Module):
    """One small U-Net for all landmarks, told which one it looks at; the move is the mean of the heatmap it draws.

    A heatmap with the mean as read-out keeps what a fully connected layer has to learn from many subjects: a shifted
    patch gives a shifted answer. The shared trunk sees every landmark's patches, and the landmark's number scales and
    shifts its channels.

    Args:
        num_landmarks: how many landmarks there are to tell apart.
        patch_size: voxels along each side of the cubic patch, a multiple of 8.
        channels: widths of the three levels, at half, quarter and an eighth of the patch's resolution.
        max_move_vox: bound of each component of the move; the heatmap covers this cube round the patch's centre.
    Source:
        The integral read-out of Sun et al. 2018, eq. 2; the log variance follows Kendall and Gal 2017, eq. 8.
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        patch_size: int = 32,
        channels: Sequence[int] = (24, 48, 64),
        max_move_vox: float = 12.0,
    ) -> None:
        super().__init__()
        if patch_size % 8:
            raise ValueError(f"patch_size must be a multiple of 8, got {patch_size}")
        if not 1 <= max_move_vox <= patch_size / 2:  # the heatmap's innermost voxels lie 1 from the centre
            raise ValueError(f"max_move_vox must lie in [1, {patch_size / 2:g}], got {max_move_vox}")
        first, second, third = channels
        # Space to depth: the first convolution then sees every voxel at an eighth of the cost.
        self.stem = nn.Conv3d(1, first, 4, stride=2, padding=1)
        self.down = nn.ModuleList(
            [
                _Modulated(num_landmarks, first, first),
                _Modulated(num_landmarks, first, second),
                _Modulated(num_landmarks, second, third),
            ]
        )
        self.pool = max_pool(3)
        self.grow = nn.ModuleList([Upsample(3, third, second), Upsample(3, second, first)])
        self.up = nn.ModuleList(
            [_Modulated(num_landmarks, 2 * second, second), _Modulated(num_landmarks, 2 * first, first)]
        )
        self.head = nn.Conv3d(first, 1, 1)
        self.uncertain = nn.Linear(third, 1)
        centres = 2 * torch.arange(patch_size // 2, dtype=torch.float32) + 0.5 - (patch_size - 1) / 2
        inside = centres[centres.abs() <= max_move_vox]
        self.margin = (len(centres) - len(inside)) // 2
        self.centres: Tensor
        self.register_buffer("centres", inside, persistent=False)

    def forward(self, patches: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        x = self.down[0](self.stem(patches), landmarks)
        middle = self.down[1](self.pool(x), landmarks)
        deep = self.down[2](self.pool(middle), landmarks)
        up = self.up[0](torch.cat([self.grow[0](deep), middle], dim=1), landmarks)
        up = self.up[1](torch.cat([self.grow[1](up), x], dim=1), landmarks)
        side = slice(self.margin, self.margin + len(self.centres))
        heat = self.head(up)[:, 0, side, side, side]
        heat = heat.flatten(1).softmax(dim=1).reshape(heat.shape)
        moves = torch.stack([torch.einsum(f"pijk,{axis}->p", heat, self.centres) for axis in "ijk"], dim=1)
        return moves, self.uncertain(deep.mean((2, 3, 4)))[:, 0] + math.log(0.25)
