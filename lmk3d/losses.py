"""Losses of both stages; a missing landmark (NaN) never counts as a position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from lmk3d.codecs.heatmap import axis_gaussians

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["displacement_loss", "exponential_mse", "spatial_cross_entropy"]


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
    """
    logits, shape = logits.float(), tuple(logits.shape[2:])
    size = torch.tensor(shape, device=logits.device)
    inside = ((points_vox >= -0.5) & (points_vox <= size - 0.5)).all(-1)
    points = torch.where(inside[..., None], points_vox, torch.nan).to(logits.dtype)
    factors = axis_gaussians(points, shape, sigma_vox)
    i, j, k = (factor / factor.sum(-1, keepdim=True).clamp_min(1e-12) for factor in factors)
    expected = torch.einsum("bnijk,bnk->bnij", logits, k)
    expected = torch.einsum("bnij,bnj,bni->bn", expected, j, i)
    total = torch.logsumexp(functional.pad(logits.flatten(2), (1, 0)), dim=2)
    counts = torch.ones_like(inside) if known is None else known
    return ((total - expected) * counts).sum() / counts.sum().clamp_min(1)


def exponential_mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error weighted by the exponential of the (detached) output.

    Args:
        output: (B, C, ...) predicted heatmaps; the weight stops at e^5, lest an early outlier overflows.
        target: the same shape.
    Source:
        Tan et al. 2020, sec. 2.1: "the weights are chosen to be the exponential powers of the predicted values".
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
    """
    known = ~truth.isnan().any(-1)
    distance = torch.sqrt(((moves - torch.nan_to_num(truth)) ** 2).sum(-1) + 1e-6)
    if log_variance is not None:
        distance = distance + distance.detach() * torch.exp(-log_variance / 2) + 1.5 * log_variance
    return (distance * known).sum() / known.sum().clamp_min(1)
