"""Losses of both stages, by hand and against slow versions; a missing landmark never counts as a position."""

import math

import pytest
import torch
from torch.testing import assert_close

from lmk3d.losses import displacement_loss, exponential_mse, patch_cross_entropy, spatial_cross_entropy

GONE = [math.nan] * 3
SHAPE = (6, 5, 4)
POINTS = torch.tensor([[[2.3, 1.6, 2.0], [4.0, 3.0, 0.4], GONE], [[-0.4, 4.4, 1.0], [9.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
# Missing, and outside along i: both are nowhere.
NOWHERE = torch.tensor([[False, False, True], [False, True, False]])


def full_target(points, sigma):
    """(B, N, I, J, K) the normalised Gaussians as volumes, which the loss never makes."""
    steps = torch.stack(torch.meshgrid(*[torch.arange(float(side)) for side in SHAPE], indexing="ij"), dim=-1)
    square = ((steps - points[:, :, None, None, None]) ** 2).sum(-1)
    target = torch.exp(-square / (2 * sigma**2))
    return torch.nan_to_num(target / target.sum((2, 3, 4), keepdim=True))


@pytest.mark.parametrize("sigma", [0.7, 1.5])
def test_cross_entropy_is_that_against_the_full_target(sigma):
    logits = torch.randn(2, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    target = full_target(POINTS, sigma) * ~NOWHERE[..., None, None, None]
    flat = torch.cat([torch.zeros(2, 3, 1), logits.flatten(2)], dim=2)  # "nowhere" is a class with logit 0
    truth = torch.cat([NOWHERE[..., None].float(), target.flatten(2)], dim=2)
    expected = -(truth * flat.log_softmax(2)).sum(2)
    assert_close(spatial_cross_entropy(logits, POINTS, sigma), expected.mean())
    known = torch.tensor([[True, False, True], [True, True, False]])
    assert_close(spatial_cross_entropy(logits, POINTS, sigma, known=known), expected[known].mean())


def test_cross_entropy_of_a_flat_map_by_hand():
    # 120 voxels and "nowhere", all with logit 0: the log of 121 classes, wherever the truth is.
    assert_close(spatial_cross_entropy(torch.zeros(2, 3, *SHAPE), POINTS, 1.0), torch.tensor(math.log(121)))


def test_cross_entropy_of_two_voxels_by_hand():
    logits = torch.tensor([1.0, 3.0]).reshape(1, 1, 2, 1, 1)
    point = torch.tensor([[[0.5, 0.0, 0.0]]])  # half on each
    expected = math.log(1 + math.e + math.e**3) - (1 + 3) / 2
    assert_close(spatial_cross_entropy(logits, point, 1.0), torch.tensor(expected))
    nowhere = math.log(1 + math.e + math.e**3)
    assert_close(spatial_cross_entropy(logits, point * math.nan, 1.0), torch.tensor(nowhere))


def test_cross_entropy_is_least_at_the_landmark():
    def loss(point):
        logits = torch.log(full_target(torch.tensor([[point]]), 1.0) + 1e-6) + 5
        return spatial_cross_entropy(logits, torch.tensor([[[2.0, 2.0, 2.0]]]), 1.0)

    at = loss([2.0, 2.0, 2.0])
    assert all(at < loss(other) for other in ([2.3, 2.0, 2.0], [2.0, 1.7, 2.0], [2.0, 2.0, 3.0]))


def test_cross_entropy_of_huge_logits_is_finite_and_sure():
    logits = torch.full((1, 1, *SHAPE), -1e4)
    logits[0, 0, 3, 2, 1] = 1e4
    loss = spatial_cross_entropy(logits, torch.tensor([[[3.0, 2.0, 1.0]]]), 0.2)
    # Of the Gaussian exp(-1 / (2 * 0.04)) lies in each of the six neighbours, whose logit is 2e4 lower.
    assert_close(loss, torch.tensor(6 * math.exp(-12.5) * 2e4), rtol=0.01, atol=0)


def test_half_precision_logits_are_widened():
    logits = torch.randn(2, 3, *SHAPE, generator=torch.Generator().manual_seed(1)).half()
    loss = spatial_cross_entropy(logits, POINTS, 1.0)
    assert loss.dtype == torch.float32
    assert_close(loss, spatial_cross_entropy(logits.float(), POINTS, 1.0))


def test_exponential_mse_by_hand():
    output, target = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.0]])
    assert_close(exponential_mse(output, target), torch.tensor((0.25 + math.e) / 2))
    outlier = torch.tensor([[1000.0]])
    assert_close(exponential_mse(outlier, torch.tensor([[999.0]])), torch.tensor(math.exp(5)))


def test_the_exponential_weight_has_no_gradient():
    output = torch.tensor([[1.0, 2.0]], requires_grad=True)
    exponential_mse(output, torch.tensor([[0.0, 2.0]])).backward()
    assert_close(output.grad, torch.tensor([[math.e * 2 * 1 / 2, 0.0]]))


def test_displacement_is_the_mean_distance_of_the_known():
    moves = torch.tensor([[3.0, 4.0, 0.0], [9.0, 9.0, 9.0], [0.0, 0.0, 2.0]])
    truth = torch.tensor([[0.0, 0.0, 0.0], GONE, [0.0, 0.0, 1.0]])
    assert_close(displacement_loss(moves, truth), torch.tensor((5.0 + 1.0) / 2))


def test_beside_the_distance_a_claimed_scale_has_its_laplace_likelihood():
    # Scale b in three dimensions: density 1 / (8 pi b^3) exp(-d / b), so d / b + 3 log b, without the constant.
    moves, truth = torch.tensor([[3.0, 4.0, 0.0]]), torch.zeros(1, 3)
    for scale in (0.5, 2.0):
        loss = displacement_loss(moves, truth, torch.tensor([2 * math.log(scale)]))
        assert_close(loss, torch.tensor(5 + 5 / scale + 3 * math.log(scale)))
    # The best claim is a third of the distance: the mean distance at scale b is 3 b.
    claims = torch.linspace(0.5, 4, 701)
    losses = torch.stack([displacement_loss(moves, truth, 2 * claim.log()[None]) for claim in claims])
    assert_close(claims[losses.argmin()], torch.tensor(5 / 3), rtol=0, atol=0.01)


def test_what_is_hard_to_place_is_learnt_as_eagerly():
    truth, claims = torch.zeros(2, 3), torch.tensor([-4.0, 4.0])
    moves = torch.tensor([[3.0, 4.0, 0.0], [3.0, 4.0, 0.0]], requires_grad=True)
    displacement_loss(moves, truth, claims).backward()
    assert_close(moves.grad, torch.tensor([[0.3, 0.4, 0.0], [0.3, 0.4, 0.0]]))  # half of the unit vector, each


def test_a_perfect_move_has_a_gradient_of_zero():
    moves = torch.zeros(2, 3, requires_grad=True)
    displacement_loss(moves, torch.zeros(2, 3)).backward()
    assert_close(moves.grad, torch.zeros(2, 3))


@pytest.mark.parametrize("all_missing", [False, True])
def test_missing_landmarks_never_make_losses_or_gradients_nan(all_missing):
    points = torch.full_like(POINTS, math.nan) if all_missing else POINTS
    logits = torch.randn(2, 3, *SHAPE, requires_grad=True)
    moves, claims = torch.randn(6, 3, requires_grad=True), torch.randn(6, requires_grad=True)
    losses = [
        spatial_cross_entropy(logits, points, 1.5),
        spatial_cross_entropy(logits, points, 1.5, known=~points.isnan().any(-1)),
        displacement_loss(moves, points.flatten(0, 1)),
        displacement_loss(moves, points.flatten(0, 1), claims),
    ]
    assert all(loss.isfinite() for loss in losses)
    sum(losses).backward()
    missing = points.flatten(0, 1).isnan().any(1)
    for values in (logits.grad, moves.grad, claims.grad):
        assert values.isfinite().all()
    assert not moves.grad[missing].any()
    assert not claims.grad[missing].any()
    if all_missing:
        assert not losses[1].any()
        assert not losses[2].any()
    else:
        assert moves.grad[~missing].abs().sum(1).all()


def test_a_landmark_nobody_looked_for_leaves_its_map_alone():
    logits = torch.randn(1, 2, *SHAPE, requires_grad=True)
    points = torch.tensor([[[2.0, 2.0, 2.0], GONE]])
    spatial_cross_entropy(logits, points, 1.0, known=~points.isnan().any(-1)).backward()
    assert not logits.grad[0, 1].any()
    assert logits.grad[0, 0].any()


def test_a_refiners_heatmap_is_told_where_its_landmark_lies():
    # Heatmap voxel v of 4 lies 2 v - 3 patch voxels from the middle: a move of (1, -1, 0) is voxel (2, 1).
    moves = torch.tensor([[1.0, -1.0, 0.0], [torch.nan] * 3])
    logits = torch.zeros(2, 1, 4, 4, 1)
    logits[0, 0, 2, 1] = 20.0
    right = patch_cross_entropy(logits, moves, 0.3)
    assert right < 0.4  # what the target's own width costs; the row of NaN does not count
    assert patch_cross_entropy(logits.flip(2), moves, 0.3) > 15
    beside = torch.tensor([[9.0, 0.0, 0.0]] * 2)
    assert patch_cross_entropy(torch.full_like(logits, -20.0), beside, 0.3) == pytest.approx(0.0, abs=1e-3)  # nowhere
