"""The second stage: networks that see a patch round a first guess and say how far the landmark lies from its centre.

Every refiner maps (P, 1, S, S, S) patches and the (P,) numbers of their landmarks to (P, 3) moves in patch voxels
(array order i, j, k) and (P,) log variances of a move's component in voxels squared. With ``spatial_dims`` 2 these are
(P, 1, S, S) and (P, 2); ``lmk3d.networks.blocks.FlatPatches`` puts the depth of one round them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from lmk3d.networks.blocks import ConvBlock, Upsample, conv, max_pool, patchify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["HeatmapRefiner", "RegressionRefiner"]


class RegressionRefiner(nn.Module):
    """One small convolutional network for each landmark, ending in a bounded displacement.

    Args:
        num_landmarks: networks to hold; none shares a weight with another.
        patch_size: voxels along each side of the patch, a multiple of 16.
        channels: filters of the four convolutions; the paper names none.
        hidden: width of the first fully connected layer.
        max_move_vox: bound of each component of the move, by a scaled tanh.
        spatial_dims: 2 or 3.
    Source:
        Tan et al. 2020, sec. 2.2 and fig. 3: four times convolution, ReLU, max pooling; two fully connected layers, the
        last one linear. "Restricted to a small range" is read as a smooth bound, which keeps its gradient.

    >>> refiner = RegressionRefiner(5, patch_size=16, channels=(4, 8, 8, 8), hidden=8)
    >>> moves, log_variance = refiner(torch.zeros(2, 1, 16, 16, 16), torch.tensor([0, 3]))
    >>> moves.shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        patch_size: int = 64,
        channels: Sequence[int] = (16, 32, 64, 64),
        hidden: int = 128,
        max_move_vox: float = 16.0,
        spatial_dims: int = 3,
    ) -> None:
        super().__init__()
        factor = 2 ** len(channels)
        if patch_size % factor:
            raise ValueError(f"patch_size must be a multiple of {factor}, got {patch_size}")
        self.max_move_vox, self.spatial_dims = max_move_vox, spatial_dims
        flat = channels[-1] * (patch_size // factor) ** spatial_dims
        self.networks = nn.ModuleList()
        for _ in range(num_landmarks):
            layers: list[nn.Module] = []
            for inputs, outputs in zip([1, *channels], channels, strict=False):
                layers += [conv(spatial_dims, inputs, outputs, 3), nn.ReLU(), max_pool(spatial_dims)]
            layers += [nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, spatial_dims)]
            self.networks.append(nn.Sequential(*layers))
        self.log_variance = nn.Parameter(torch.zeros(num_landmarks))

    def forward(self, patches: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        moves = patches.new_zeros(len(patches), self.spatial_dims)
        for number, network in enumerate(self.networks):
            own = landmarks == number
            if own.any():
                moves[own] = network(patches[own]).to(moves.dtype)  # half, where autocast says so
        return self.max_move_vox * torch.tanh(moves / self.max_move_vox), self.log_variance[landmarks]


class _Modulated(nn.Module):
    """A block whose channels are scaled and shifted by what the landmark's number says (FiLM, Perez 2018)."""

    def __init__(self, spatial_dims: int, num_landmarks: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = ConvBlock(spatial_dims, inputs, outputs)
        self.modulation = nn.Embedding(num_landmarks, 2 * outputs)
        nn.init.normal_(self.modulation.weight, std=0.1)

    def forward(self, x: Tensor, landmarks: Tensor) -> Tensor:
        scale, shift = self.modulation(landmarks)[..., None].chunk(2, dim=1)
        x = self.block(x)
        return (x.flatten(2) * (1 + scale) + shift).reshape(x.shape)


class HeatmapRefiner(nn.Module):
    """One small U-Net for all landmarks, told which one it looks at; the move is the mean of the heatmap it draws.

    A heatmap with the mean as read-out keeps what a fully connected layer has to learn from many subjects: a shifted
    patch gives a shifted answer. The shared trunk sees every landmark's patches, and the landmark's number scales and
    shifts its channels.

    Args:
        num_landmarks: how many landmarks there are to tell apart.
        patch_size: voxels along each side of the patch, a multiple of 8.
        channels: widths of the three levels, at half, quarter and an eighth of the patch's resolution.
        max_move_vox: bound of each component of the move; the heatmap covers this cube round the patch's centre.
        spatial_dims: 2 or 3.
    Source:
        The integral read-out of Sun et al. 2018, eq. 2; the log variance follows Kendall and Gal 2017, eq. 8.

    >>> refiner = HeatmapRefiner(5, patch_size=16, channels=(4, 8, 8), max_move_vox=6.0)
    >>> moves, log_variance = refiner(torch.zeros(2, 1, 16, 16, 16), torch.tensor([0, 3]))
    >>> moves.shape, log_variance.shape
    (torch.Size([2, 3]), torch.Size([2]))
    """

    def __init__(
        self,
        num_landmarks: int,
        *,
        patch_size: int = 32,
        channels: Sequence[int] = (24, 48, 64),
        max_move_vox: float = 12.0,
        spatial_dims: int = 3,
    ) -> None:
        super().__init__()
        if patch_size % 8 or not 8 <= patch_size <= 512:
            raise ValueError(f"patch_size must be a multiple of 8 from 8 to 512, got {patch_size}")
        if not 1 <= max_move_vox <= patch_size / 2:  # the heatmap's innermost voxels lie 1 from the centre
            raise ValueError(f"max_move_vox must lie in [1, {patch_size / 2:g}], got {max_move_vox}")
        first, second, third = channels
        # Space to depth: the first convolution then sees every voxel at an eighth of the cost.
        self.stem = patchify(spatial_dims, 1, first, 2)
        down = ((first, first), (first, second), (second, third))
        self.down = nn.ModuleList(_Modulated(spatial_dims, num_landmarks, *step) for step in down)
        self.pool = max_pool(spatial_dims)
        grow = ((third, second), (second, first))
        self.grow = nn.ModuleList(Upsample(spatial_dims, *step) for step in grow)
        self.up = nn.ModuleList(_Modulated(spatial_dims, num_landmarks, 2 * wide, wide) for _, wide in grow)
        self.head = conv(spatial_dims, first, 1, 1)
        self.uncertain = nn.Linear(third, 1)
        centres = 2 * torch.arange(patch_size // 2, dtype=torch.float32) + 0.5 - (patch_size - 1) / 2
        inside = centres[centres.abs() <= max_move_vox]
        self.margin = (len(centres) - len(inside)) // 2
        self.centres: Tensor
        self.register_buffer("centres", inside, persistent=False)

    def forward(self, patches: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        moves, log_variance, _ = self.with_heat(patches, landmarks)
        return moves, log_variance

    def with_heat(self, patches: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What ``forward`` says, and the heatmap's logits (P, 1, ...), which ``centres`` places in the patch."""
        x = self.down[0](self.stem(patches), landmarks)
        middle = self.down[1](self.pool(x), landmarks)
        deep = self.down[2](self.pool(middle), landmarks)
        up = self.up[0](torch.cat([self.grow[0](deep), middle], dim=1), landmarks)
        up = self.up[1](torch.cat([self.grow[1](up), x], dim=1), landmarks)
        heat = self.head(up)[:, 0].float()
        for axis in range(1, heat.dim()):
            heat = heat.narrow(axis, self.margin, len(self.centres))
        logits = heat[:, None]
        heat = heat.flatten(1).softmax(dim=1).reshape(heat.shape)
        # A product and a sum, since half precision, where autocast would take it for a matrix product, is too coarse.
        moves = [(heat.movedim(axis, 1).flatten(2).sum(2) * self.centres).sum(1) for axis in range(1, heat.dim())]
        log_variance = self.uncertain(deep.flatten(2).mean(2))[:, 0].float() + math.log(0.25)
        return torch.stack(moves, dim=1), log_variance, logits
