"""Losses of every method; a missing landmark (NaN) never counts as a position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from lmk3d.codecs.heatmap import axis_gaussians

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "balanced_cross_entropy",
    "coordinate_loss",
    "displacement_loss",
    "exponential_mse",
    "map_cross_entropy",
    "map_mse",
    "patch_cross_entropy",
    "spatial_cross_entropy",
    "total_variation",
    "uv_distance",
]


def spatial_cross_entropy(
    logits: Tensor, points_vox: Tensor, sigma_vox: float, *, known: Tensor | None = None
) -> Tensor:
    """Cross entropy between a Gaussian at each landmark and the softmax over all voxels and "nowhere".

    "Nowhere" is one more class with the fixed logit 0, the truth of a landmark that is not in the image. No target
    volume is made: the Gaussian is a product of three vectors, contracted with the logits one axis at a time.

    Args:
        logits: (B, N, I, J, K); half precision is widened.
        points_vox: (B, N, 3) sub-voxel indices; a NaN row, or one outside the image, is nowhere.
        sigma_vox: standard deviation of the target in voxels.
        known: (B, N) False where nobody annotated the landmark, so that it does not count at all; all True when None.
    Returns:
        The mean over the known landmarks, in nats; 0 where none is known.

    >>> logits = torch.zeros(1, 1, 4, 4, 4)
    >>> loss = spatial_cross_entropy(logits, torch.tensor([[[1.0, 2.0, 3.0]]]), sigma_vox=1.0)
    >>> round(float(loss), 4)  # log(65): 64 voxels and "nowhere" are all as likely
    4.1744
    """
    logits, shape = logits.float(), tuple(logits.shape[2:])
    size = torch.tensor(shape, device=logits.device)
    inside = ((points_vox >= -0.5) & (points_vox <= size - 0.5)).all(-1)
    points = torch.where(inside[..., None], points_vox, torch.nan).to(logits.dtype)
    factors = axis_gaussians(points, shape, sigma_vox)
    i, j, k = (factor / factor.sum(-1, keepdim=True).clamp_min(1e-12) for factor in factors)
    with torch.autocast(logits.device.type, enabled=False):  # which would multiply in half precision
        expected = torch.einsum("bnijk,bnk->bnij", logits, k)
        expected = torch.einsum("bnij,bnj,bni->bn", expected, j, i)
    total = torch.logsumexp(functional.pad(logits.flatten(2), (1, 0)), dim=2)
    counts = torch.ones_like(inside) if known is None else known
    return ((total - expected) * counts).sum() / counts.sum().clamp_min(1)


def patch_cross_entropy(logits: Tensor, moves: Tensor, sigma_vox: float) -> Tensor:
    """Cross entropy of refiners' heatmaps (P, 1, I, J, K), each voxel two patch voxels wide, round the patch's middle.

    Args:
        logits: "nowhere", the truth of a landmark that lies beside the heatmap, has the logit 0.
        moves: (P, 3) patch voxels from the middle to the landmark; NaN rows do not count.
        sigma_vox: of the target, in the heatmap's voxels.
    """
    middle = (torch.tensor(logits.shape[2:], device=moves.device) - 1) / 2
    points = moves / 2 + middle
    return spatial_cross_entropy(logits, points[:, None], sigma_vox, known=~points[:, None].isnan().any(-1))


def exponential_mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error weighted by the exponential of the (detached) output.

    Args:
        output: (B, C, ...) predicted heatmaps; the weight stops at e^5, lest an early outlier overflows.
        target: the same shape.
    Source:
        Tan et al. 2020, sec. 2.1: "the weights are chosen to be the exponential powers of the predicted values".

    >>> float(exponential_mse(torch.zeros(1, 1, 4), torch.ones(1, 1, 4)))  # e^0 times 1
    1.0
    """
    return (output.detach().clamp_max(5).exp() * (output - target) ** 2).mean()


def displacement_loss(moves: Tensor, truth: Tensor, log_variance: Tensor | None = None) -> Tensor:
    """Euclidean distance between moves, and beside it the likelihood of the claimed uncertainty.

    The distance itself is not divided by the claimed scale: landmarks that are hard to place would hardly be learnt.

    Args:
        moves, truth: (P, 3) in one unit; a NaN row of the truth does not count.
        log_variance: (P,) log of a Laplace scale squared in that unit, or None for the distance alone.
    Returns:
        The mean over the known rows; 0 where there is none.
    Source:
        Tan et al. 2020, sec. 2.2; Kendall and Gal 2017, eq. 8, for a Laplace error; Seitzer et al. 2022 for keeping the
        claimed scale out of the distance's gradient.

    >>> round(float(displacement_loss(torch.tensor([[3.0, 4.0, 0.0]]), torch.zeros(1, 3))), 3)
    5.0
    """
    known = ~truth.isnan().any(-1)
    distance = torch.sqrt(((moves - torch.nan_to_num(truth)) ** 2).sum(-1) + 1e-6)
    if log_variance is not None:
        distance = distance + distance.detach() * torch.exp(-log_variance / 2) + 1.5 * log_variance
    return (distance * known).sum() / known.sum().clamp_min(1)


def map_mse(
    maps: Tensor, target: Tensor, scale: float, *, foreground: float = 0.0, known: Tensor | None = None
) -> Tensor:
    """Sum of squared differences of each map, in units of what an empty map would cost.

    Args:
        maps, target: (B, N, I, J, K) heights.
        scale: the sum of squares of one target; then 1 is the loss of a network that says nothing.
        foreground: the squares are weighed by 1 + ``foreground`` times the target.
        known: (B, N) False where nobody annotated the landmark; all True when None.
    Returns:
        The mean over the known maps; 0 where none is known.
    """
    square = (maps.float() - target) ** 2
    if foreground:
        square = square * (1 + foreground * target)
    return _mean_of_known(square.flatten(2).sum(2) / scale, known)


def map_cross_entropy(logits: Tensor, target: Tensor, scale: float, *, known: Tensor | None = None) -> Tensor:
    """Binary cross entropy of each voxel, summed over each map; ``scale`` is the sum of one target. See ``map_mse``."""
    entropy = functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return _mean_of_known(entropy.flatten(2).sum(2) / scale, known)


def _mean_of_known(losses: Tensor, known: Tensor | None) -> Tensor:
    counts = torch.ones_like(losses) if known is None else known.to(losses.dtype)
    return (losses * counts).sum() / counts.sum().clamp_min(1)


def coordinate_loss(points: Tensor, truth: Tensor, log_sigma: Tensor | None = None) -> Tensor:
    """Mean squared error of regressed points, or their Gaussian likelihood where the sigma is learnt too.

    Args:
        points, truth: (B, N, 3) in one unit; a NaN row of the truth does not count.
        log_sigma: (N,) log of each landmark's standard deviation in that unit.
    Returns:
        The mean over the known rows; 0 where there is none.
    Source:
        Heatmap x coordinate regression 2021, sec. 3.3. "With sigma parameters in a network's weights" (fig. 5) is read
        as the maximum likelihood sigma, Kendall and Gal 2017, eq. 5.
    """
    known = ~truth.isnan().any(-1)
    square = ((points - torch.nan_to_num(truth)) ** 2).sum(-1)
    if log_sigma is not None:
        square = square / 2 * torch.exp(-2 * log_sigma) + 2 * log_sigma  # two coordinates in a film
    return (square * known).sum() / known.sum().clamp_min(1)


def balanced_cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross entropy in which the pixels of each structure weigh as much as all others together.

    Args:
        logits: (B, S, ...).
        masks: the same shape, 0 or 1; a map of NaN is unknown and does not count.
    Source:
        DenseSeg 2024, sec. 2.1.3; its ratio is that of the training split, ours that of the batch.
    """
    known = ~masks.isnan()
    truth = torch.nan_to_num(masks)
    axes = [0, *range(2, masks.ndim)]
    inside, count = truth.sum(axes), known.sum(axes)
    share = inside / count.clamp_min(1)
    # Half of the weight for each side; a structure that no image of the batch shows is all outside.
    weight = torch.where(inside > 0, 0.5 / share.clamp_min(1e-6), 1.0), 0.5 / (1 - share).clamp_min(1e-6)
    shape = (1, -1, *[1] * (masks.ndim - 2))
    weights = torch.where(truth > 0.5, weight[0].reshape(shape), weight[1].reshape(shape)) * known
    entropy = functional.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    return (entropy * weights).sum() / known.sum().clamp_min(1)


def uv_distance(uv: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference; elements whose truth is NaN do not count."""
    known = ~truth.isnan()
    return ((uv.float() - torch.nan_to_num(truth)).abs() * known).sum() / known.sum().clamp_min(1)


def total_variation(maps: Tensor, inside: Tensor) -> Tensor:
    """Mean absolute step between neighbours along I and J that both lie inside.

    Args:
        maps: (B, S, I, J, K).
        inside: the same shape, True where the maps count.
    """
    total = maps.new_zeros(())
    for axis in (2, 3):
        steps = maps.float().diff(dim=axis).abs()
        size = maps.shape[axis] - 1
        both = inside.narrow(axis, 0, size) & inside.narrow(axis, 1, size)
        total = total + (steps * both).sum() / both.sum().clamp_min(1)
    return total
