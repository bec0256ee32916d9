"""Building blocks that the networks share; the only file that tells two dimensions from three."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Attention",
    "ChannelGate",
    "ConvBlock",
    "FlatDepth",
    "FlatPatches",
    "Upsample",
    "conv",
    "head",
    "lay_out_for_cpu",
    "max_pool",
    "norm_layer",
    "patchify",
    "resized",
    "shrunk",
]


def conv(
    spatial_dims: int,
    inputs: int,
    outputs: int,
    kernel: int | Sequence[int],
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
) -> nn.Module:
    """A 'same' convolution in two or three dimensions; ``kernel`` is odd, one side or one for each axis."""
    make = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
    sides: Any = (kernel,) * spatial_dims if isinstance(kernel, int) else tuple(kernel)
    padding: Any = tuple(dilation * (side // 2) for side in sides)
    return make(inputs, outputs, sides, stride, padding, dilation, groups, bias)


def norm_layer(spatial_dims: int, channels: int, norm: str) -> nn.Module:
    """What stands behind a convolution: "instance", "batch" (as in most papers, for large batches) or "none".

    Raises:
        ValueError: for any other name.
    """
    if norm == "instance":
        return _ChannelNorm(channels, channels)
    if norm == "batch":
        return {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[spatial_dims](channels)
    if norm != "none":
        raise ValueError(f"norm must be 'instance', 'batch' or 'none', got {norm!r}")
    return nn.Identity()


def resized(x: Tensor, size: list[int]) -> Tensor:
    """Maps (B, C, ...) on a grid of ``size`` over the same field of view, linearly between the voxels."""
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return functional.interpolate(x, size=size, mode=mode, align_corners=False)


def shrunk(x: Tensor, size: list[int]) -> Tensor:
    """Maps (B, C, ...) averaged down to a grid of ``size``, so that no narrow peak falls between its voxels."""
    return functional.interpolate(x, size=size, mode="area")


def head(spatial_dims: int, inputs: int, outputs: int) -> nn.Module:
    """A convolution of one voxel from features to maps.

    It is one matrix product: a third of a convolution's time and no second copy of the maps, which for many landmarks
    are the largest thing in memory; and each map lies together, whatever order the layers before it work in.
    """
    make = {2: _Head2d, 3: _Head3d}[spatial_dims]
    return make(inputs, outputs, 1)


class _Head2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return _mapped(x, self.weight, self.bias)


class _Head3d(nn.Conv3d):
    def forward(self, x: Tensor) -> Tensor:
        return _mapped(x, self.weight, self.bias)


def _mapped(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    features, matrix = x.flatten(2), weight.flatten(1).expand(x.shape[0], -1, -1)
    maps = torch.bmm(matrix, features) if bias is None else torch.baddbmm(bias[:, None], matrix, features)
    return maps.reshape(x.shape[:1] + maps.shape[1:2] + x.shape[2:])


def max_pool(spatial_dims: int) -> nn.Module:
    """Halve every spatial side, keeping the larger value."""
    return {2: nn.MaxPool2d, 3: nn.MaxPool3d}[spatial_dims](2)


def patchify(spatial_dims: int, inputs: int, outputs: int, stride: int) -> nn.Module:
    """A convolution twice as wide as its even stride: each output voxel is centred on the block it stands for.

    Raises:
        ValueError: for an odd stride, whose blocks no such convolution is centred on.
    """
    if stride % 2:
        raise ValueError(f"stride must be even, got {stride}")
    make = {2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
    return make(inputs, outputs, 2 * stride, stride=stride, padding=stride // 2)


class Upsample(nn.Module):
    """Double every spatial side with a transposed convolution: (B, inputs, ...) to (B, outputs, ...)."""

    def __init__(self, spatial_dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        make = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[spatial_dims]
        self.grow = make(inputs, outputs, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.grow(x)


class _ChannelNorm(nn.GroupNorm):
    """Instance norm as a group norm of one channel a group, and defined down to one voxel, which becomes the bias."""

    def forward(self, x: Tensor) -> Tensor:
        # functional.group_norm refuses a batch of one voxel, which a small scan leaves at the deepest level.
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class ConvBlock(nn.Module):
    """Two 3x3(x3) convolutions, each with its norm and leaky ReLU: (B, inputs, ...) to (B, outputs, ...).

    Args:
        spatial_dims: 2 or 3.
        inputs, outputs: channels.
        norm: see ``norm_layer``; with "batch" and "none" the ReLUs are plain, as in the papers that have them.
        stride: of the first convolution.
    """

    def __init__(
        self, spatial_dims: int, inputs: int, outputs: int, *, norm: str = "instance", stride: int = 1
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, step in ((inputs, stride), (outputs, 1)):
            layers.append(conv(spatial_dims, width, outputs, 3, stride=step, bias=norm == "none"))
            if norm != "none":
                layers.append(norm_layer(spatial_dims, outputs, norm))
            layers.append(nn.LeakyReLU(0.01) if norm == "instance" else nn.ReLU())
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.jit.is_scripting() and x.dim() == 5 and x.shape[2] == 2:  # type: ignore[attr-defined]
            # Where maps are two voxels deep, oneDNN's gradient of bfloat16 weights reads memory that nobody wrote.
            with torch.autocast(x.device.type, enabled=False):
                return self.layers(x.float())
        return self.layers(x)


class ChannelGate(nn.Module):
    """A weight in (0, 1) for each of some maps, learnt from the mean of features (Hu 2018, sec. 3).

    Args:
        features: channels of what the weights are learnt from.
        outputs: how many weights.
        reduction: how many times narrower the layer between them is.
    """

    def __init__(self, features: int, outputs: int, *, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, features // reduction)
        # A leaky ReLU: with few features a plain one may be silent for good.
        layers = [nn.Linear(features, hidden), nn.LeakyReLU(0.01), nn.Linear(hidden, outputs), nn.Sigmoid()]
        self.weigh = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, features, ...) to (B, outputs)."""
        return self.weigh(x.flatten(2).mean(-1))


class Attention(nn.Module):
    """Scale first the channels, then the voxels of (B, C, ...) features by weights learnt from them.

    Args:
        spatial_dims: 2 or 3.
        channels: C.
        reduction: how many times narrower the layer behind the channels' weights is.
    Source:
        The convolutional block attention module, Woo et al. 2018, eqs. 1-3.
    """

    def __init__(self, spatial_dims: int, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.weigh = nn.Sequential(nn.Linear(channels, hidden), nn.LeakyReLU(0.01), nn.Linear(hidden, channels))
        self.look = conv(spatial_dims, 2, 1, 7)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        gate = torch.sigmoid(self.weigh(flat.mean(2)) + self.weigh(flat.amax(2)))
        x = (flat * gate[:, :, None]).reshape(x.shape)
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.look(seen))


class FlatDepth(nn.Module):
    """Run a 2D network on volumes of depth one: (B, C, H, W, 1) in, (B, N, H, W, 1) out.

    Args:
        network: such as ``HeatmapUNet`` with ``spatial_dims=2``.

    >>> from lmk3d.networks import HeatmapUNet
    >>> FlatDepth(HeatmapUNet(5, channels=(4, 8), spatial_dims=2))(torch.zeros(1, 1, 16, 24, 1)).shape
    torch.Size([1, 5, 16, 24, 1])
    """

    flat = True  # which first stages that look at volumes lack

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @property
    def divisor(self) -> int:
        """What the sides H and W must be a multiple of."""
        return int(self.network.divisor)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != 1:
            raise ValueError(f"a 2D network takes images of depth one, got {list(x.shape[2:])}; use spatial_dims=3")
        return torch.unsqueeze(self.network(torch.squeeze(x, -1)), -1)

    def with_sides(self, x: Tensor) -> list[Tensor]:
        """As ``HeatmapUNet.with_sides``, each of depth one."""
        return [output[..., None] for output in self.network.with_sides(x[..., 0])]  # type: ignore[operator]

    def with_points(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As ``HeatmapCoordinateNet.with_points``: maps of depth one, and points in the middle of that depth."""
        maps, points = self.network.with_points(x[..., 0])  # type: ignore[operator]
        return maps[..., None], functional.pad(points, (0, 1), value=0.5)


class FlatPatches(nn.Module):
    """Run a 2D refiner on patches of depth one: (P, 1, S, S, 1) in, (P, 3) moves that stay in the film out.

    Args:
        network: such as ``HeatmapRefiner`` with ``spatial_dims=2``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        moves, log_variance = self.network(patches[..., 0], landmarks)
        return functional.pad(moves, (0, 1)), log_variance

    def with_heat(self, patches: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``HeatmapRefiner.with_heat``, of depth one."""
        moves, log_variance, logits = self.network.with_heat(patches[..., 0], landmarks)  # type: ignore[operator]
        return functional.pad(moves, (0, 1)), log_variance, logits[..., None]


def lay_out_for_cpu(network: nn.Module) -> None:
    """Keep the channels of a voxel together in memory: the convolutions then take a quarter less time there.

    All but those of one voxel, the heads, whose maps are read one by one.
    """
    orders = {
        torch.channels_last_3d: (nn.Conv3d, nn.ConvTranspose3d),
        torch.channels_last: (nn.Conv2d, nn.ConvTranspose2d),
    }
    for layer in network.modules():
        for order, kinds in orders.items():
            if isinstance(layer, kinds) and max(layer.kernel_size) > 1:
                layer.to(memory_format=order)  # type: ignore[call-overload]
