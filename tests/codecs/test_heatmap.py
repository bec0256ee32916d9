"""Heatmap targets and the sub-voxel peaks read back from maps."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from lmk3d.codecs.heatmap import HeatmapCodec, axis_gaussians, draw_gaussians, local_maxima, refine_peaks, top_peaks
from lmk3d.geometry import Grid

SHAPE = (20, 18, 16)
GONE = [float("nan")] * 3
POINTS = torch.tensor([[6.3, 8.5, 7.9], [13.45, 4.75, 10.2], GONE])


def logits_of(points, shape=SHAPE, sigma=1.5, height=5.0):
    """What a network trained with the cross entropy says: the log of a Gaussian, up to a constant."""
    steps = torch.stack(torch.meshgrid(*[torch.arange(float(side)) for side in shape], indexing="ij"), dim=-1)
    square = ((steps - torch.as_tensor(points)[:, None, None, None]) ** 2).sum(-1)
    return height - square / (2 * sigma**2)


def test_axis_gaussians_multiply_to_a_gaussian():
    i, j, k = axis_gaussians(torch.tensor([[1.0, 2.0, 0.5], GONE]), (3, 4, 2), 1.0)
    assert_close(i[0], torch.tensor([-0.5, 0.0, -0.5]).exp())
    assert_close(j[0], torch.tensor([-2.0, -0.5, 0.0, -0.5]).exp())
    assert_close(k[0], torch.tensor([-0.125, -0.125]).exp())
    assert_close(torch.cat([i[1], j[1], k[1]]), torch.zeros(9))  # a missing landmark gives zeros


def test_drawn_gaussians_are_those_of_the_formula():
    expected = logits_of(POINTS[:2], height=0.0).exp()
    drawn = draw_gaussians(POINTS, SHAPE, 1.5)
    assert drawn.shape == (3, *SHAPE)
    assert_close(drawn[:2], expected, rtol=0, atol=np.exp(-8))  # what is left out beyond four sigma
    assert not drawn[2].any()
    box = (slice(1, 13), slice(3, 15), slice(2, 14))  # whole voxels within 6.3 +- 6, 8.5 +- 6, 7.9 +- 6
    assert_close(drawn[0][box], expected[0][box])
    assert_close(drawn[0].sum(), drawn[0][box].sum())


def test_a_point_outside_draws_only_its_tail():
    drawn = draw_gaussians(torch.tensor([[-2.0, 8, 8], [-50.0, 8, 8], [8.0, 8, 90]]), SHAPE, 1.0)
    assert_close(drawn[0, 0, 8, 8], torch.tensor(-2.0).exp())  # exp(-2^2 / 2)
    assert not drawn[1:].any()


@pytest.mark.parametrize("shape", [SHAPE, (20, 18, 1), (5, 4, 3)])
@pytest.mark.parametrize("peak", [1.0, 0.8])
def test_every_voxel_of_the_background_target_sums_to_one(shape, peak):
    points = torch.tensor([[2.0, 2.0, 0.0], [4.0, 2.0, 0.0], [2.3, 2.9, 0.0], GONE, [40.0, 2.0, 0.0]])
    target = HeatmapCodec(background=True, peak=peak).draw(points, shape)
    assert target.shape == (6, *shape)
    assert_close(target.sum(0), torch.ones(shape))
    assert target.min() >= 0
    # The paper's background: 1 - k exp(-|v - p_closest|^2 / 2 sigma^2).
    nearest = draw_gaussians(points, shape, 1.5).amax(0)
    assert_close(target[-1], 1 - peak * nearest)
    assert not target[3].any()


def test_the_background_target_is_highest_at_the_landmark():
    points = torch.tensor([[6.0, 8.0, 7.0], [8.0, 8.0, 7.0], [13.0, 4.0, 10.0]])  # two of them overlap
    target = HeatmapCodec(background=True).draw(points, SHAPE)
    tops = torch.stack(torch.unravel_index(target[:3].flatten(1).argmax(1), SHAPE), dim=1)
    assert_close(tops, points.long())
    i, j, k = points.long().T
    assert_close(target[3, i, j, k], torch.zeros(3))
    assert_close(target[2, 13, 4, 10], torch.tensor(1.0), rtol=0, atol=1e-4)
    # At the first landmark the second one's Gaussian is exp(-2^2 / (2 * 1.5^2)); their sum is scaled to one.
    assert_close(target[0, 6, 8, 7], 1 / (1 + torch.tensor(-8 / 9).exp()))


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_decoding_finds_encoded_points_below_a_voxel(draw_grid, background, sigma):
    generator = np.random.default_rng(0)
    codec = HeatmapCodec(sigma_vox=sigma, background=background)
    for _ in range(20):
        grid = draw_grid(generator, shape=SHAPE)
        vox = generator.uniform(5, 10, size=(1, 3))
        target = codec.encode(grid.to_mm(vox), grid)
        peaks = codec.decode(target if background else target.clamp_min(1e-9).log() + 5)
        assert np.linalg.norm(peaks.points_vox[:, 0].numpy() - vox) < 0.1
        assert peaks.presence > 0.6  # a map half a voxel off along each axis is exp(-3 / 8) high


def test_a_confident_map_is_kept_as_it_is():
    logits = torch.full((1, *SHAPE), -50.0)
    logits[0, 3, 4, 5] = 50.0
    peaks = HeatmapCodec().decode(logits)
    assert_close(peaks.points_vox[0, 0], torch.tensor([3.0, 4.0, 5.0]))
    assert_close(peaks.weights[0, 0], torch.tensor(1.0))
    assert_close(peaks.presence, torch.ones(1))


def test_two_equal_peaks_are_two_peaks_and_not_their_mean():
    logits = torch.logaddexp(*logits_of([[4.25, 8.0, 8.0], [13.25, 8.0, 8.0]], sigma=1.0))[None]
    peaks = HeatmapCodec(num_peaks=2).decode(logits)
    found = peaks.points_vox[0][peaks.points_vox[0, :, 0].argsort()]
    assert_close(found, torch.tensor([[4.25, 8.0, 8.0], [13.25, 8.0, 8.0]]), rtol=0, atol=0.01)
    assert_close(peaks.weights[0, 0], peaks.weights[0, 1])


def test_peaks_come_best_first_and_run_out():
    maps = torch.zeros(2, 9, 9, 9)
    maps[0, 2, 2, 2], maps[0, 6, 6, 6], maps[0, 6, 6, 5] = 0.3, 0.6, 0.1  # the last lies on the slope of the second
    peaks = top_peaks(maps, torch.tensor([0.9, 0.0]), 3, 1)
    assert_close(peaks.points_vox[0, 1], torch.tensor([2.0, 2.0, 2.0]))
    assert_close(peaks.weights[0], torch.tensor([0.7, 0.3, 0.0]))
    assert peaks.points_vox[0, 2].isnan().all()
    assert peaks.points_vox[1].isnan().all()
    assert not peaks.weights[1].any()
    assert_close(peaks.presence, torch.tensor([0.9, 0.0]))


def test_presence_is_low_where_nothing_is_there():
    nothing = torch.full((2, *SHAPE), -12.0)  # 5760 voxels of exp(-12) against exp(0) for nowhere
    nothing[1] = logits_of([[8.0, 8.0, 8.0]])[0]
    presence = HeatmapCodec().decode(nothing).presence
    assert_close(presence[0], torch.tensor(1 - 1 / (1 + 5760 * np.exp(-12)), dtype=torch.float32))
    assert presence[1] > 0.99


def test_with_background_presence_is_the_height_of_the_map():
    codec = HeatmapCodec(background=True, peak=0.5, num_peaks=1)
    target = codec.draw(torch.tensor([[8.0, 8.0, 8.0], GONE]), SHAPE)
    assert_close(codec.decode(target).presence, torch.tensor([1.0, 0.0]))
    assert_close(codec.decode(target * 0.6).presence, torch.tensor([0.6, 0.0]))


def test_maps_of_depth_one_are_decoded_in_their_plane():
    points = torch.tensor([[6.3, 8.5, 0.0], [13.45, 4.75, 0.0]])
    peaks = HeatmapCodec().decode(logits_of(points, (20, 18, 1)))
    assert_close(peaks.points_vox[:, 0], points, rtol=0, atol=0.1)
    assert HeatmapCodec().draw(points, (20, 18, 1)).shape == (2, 20, 18, 1)


def test_fewer_voxels_than_peaks_are_no_error():
    peaks = HeatmapCodec(num_peaks=4).decode(torch.zeros(2, 2, 1, 1))
    assert peaks.points_vox.shape == (2, 4, 3)
    assert peaks.points_vox[:, 1:].isnan().all()


def test_radius_zero_gives_the_plain_argmax():
    peaks = HeatmapCodec(decode_radius=0, num_peaks=1).decode(logits_of(POINTS[:2]))
    assert_close(peaks.points_vox[:, 0], torch.tensor([[6.0, 8, 8], [13, 5, 10]]), rtol=0, atol=1.0)
    assert_close(peaks.points_vox, peaks.points_vox.round())


@pytest.mark.parametrize(("radius", "sigma", "most"), [(2, 1.0, 0.02), (2, 1.5, 0.06), (3, 2.0, 0.1)])
def test_the_window_does_not_draw_the_peak_to_its_middle(radius, sigma, most):
    points = torch.tensor(np.random.default_rng(1).uniform(6, 9, size=(40, 3)), dtype=torch.float32)
    maps = logits_of(points, sigma=sigma).exp()
    index = points.round().long()[:, None]
    found, _ = refine_peaks(maps, index, radius)
    assert (found[:, 0] - points).norm(dim=1).max() < most


def test_at_the_border_a_peak_is_not_pulled_inwards():
    points = torch.tensor([[0.0, 8.0, 8.0], [19.0, 17.0, 15.0]])
    found, _ = refine_peaks(logits_of(points).exp(), points.long()[:, None], 2)
    assert_close(found[:, 0], points, rtol=0, atol=1e-4)


def test_a_batch_of_maps_is_a_loop_of_maps():
    maps = logits_of(POINTS[:2]).exp()
    both = top_peaks(maps, torch.ones(2), 2, 2)
    for row in range(2):
        one = top_peaks(maps[[row]], torch.ones(1), 2, 2)
        assert_close(both.points_vox[[row]], one.points_vox, equal_nan=True)
        assert_close(both.weights[[row]], one.weights)


def pooled_maxima(maps, reach):
    """The local maxima by a window moved over every voxel: the slow way, kept as an oracle."""
    window = [2 * min(reach, side - 1) + 1 for side in maps.shape[1:]]
    tops = functional.max_pool3d(maps[None], window, stride=1, padding=[side // 2 for side in window])[0]
    return [sorted(channel[channel == top].tolist(), reverse=True) for channel, top in zip(maps, tops, strict=True)]


@pytest.mark.parametrize("shape", [(9, 7, 8), (12, 11, 1), (3, 2, 4), (1, 1, 1)])
@pytest.mark.parametrize("reach", [1, 2, 3])
def test_local_maxima_are_those_of_a_moving_window(shape, reach):
    maps = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    for count in (1, 4, 30):
        values, index = local_maxima(maps, count, reach)
        assert values.shape == (3, count)
        for row, expected in enumerate(pooled_maxima(maps, reach)):
            found = values[row][values[row] > -torch.inf]
            assert found.tolist() == expected[:count]
            i, j, k = index[row, : len(found)].T
            assert_close(maps[row, i, j, k], found)


def test_a_map_of_nan_has_no_peaks():
    peaks = HeatmapCodec().decode(torch.full((1, 4, 4, 4), torch.nan))
    assert peaks.points_vox.isnan().all()
    assert not peaks.weights.any()


def test_encoding_takes_millimetres():
    grid = Grid.around([5.0, -3.0, 2.0], (9, 9, 9), 0.5)
    maps = HeatmapCodec(sigma_vox=1.0).encode([[5.0, -3.0, 2.5]], grid)
    assert torch.unravel_index(maps[0].argmax(), (9, 9, 9)) == (4, 4, 5)
    assert maps.dtype == torch.float32


@pytest.mark.parametrize(
    ("reading", "of"),
    [("heights", lambda h: h * 2), ("sigmoid", lambda h: torch.logit(h.clamp(1e-6, 1 - 1e-6))), ("log", torch.log)],
)
def test_maps_of_heights_are_read_alike_whatever_they_hold(reading, of):
    codec = HeatmapCodec(sigma_vox=1.5, reading=reading, peak=2.0 if reading == "heights" else 1.0, num_peaks=2)
    points = torch.tensor([[4.0, 6.0, 0.0], [9.0, 3.0, 0.0]])
    maps = draw_gaussians(points, (14, 12, 1), 1.5) * 0.8
    maps[0] += 0.4 * draw_gaussians(torch.tensor([[12.0, 9.0, 0.0]]), (14, 12, 1), 1.5)[0]
    peaks = codec.decode(of(maps))
    assert_close(peaks.points_vox[:, 0], points, atol=0.05, rtol=0)
    assert_close(peaks.points_vox[0, 1], torch.tensor([12.0, 9.0, 0.0]), atol=0.1, rtol=0)
    assert_close(peaks.heights, torch.tensor([[0.8, 0.4], [0.8, 0.0]]), atol=1e-3, rtol=0)
    assert_close(peaks.presence, torch.tensor([0.8, 0.8]), atol=1e-3, rtol=0)


def test_of_two_peaks_nearer_than_the_separation_the_higher_counts():
    maps = draw_gaussians(torch.tensor([[5.0, 5.0, 0.0], [5.0, 10.0, 0.0]]), (11, 20, 1), 1.0)
    maps = (maps[0] + 0.9 * maps[1])[None]
    near, far = (HeatmapCodec(reading="heights", separation=reach).decode(maps).heights for reach in (4, 5))
    assert_close(near[0, :2], torch.tensor([1.0, 0.9]), atol=1e-3, rtol=0)
    assert_close(far[0, :2], torch.tensor([1.0, 0.0]), atol=1e-3, rtol=0)


def test_of_several_instances_the_nearest_is_drawn():
    points = torch.tensor([[[2.0, 2.0, 0.0], [2.0, 8.0, 0.0]], [[5.0, 5.0, 0.0], [torch.nan] * 3]])
    maps = HeatmapCodec(sigma_vox=1.0, peak=3.0).draw(points, (8, 12, 1))
    one, two = draw_gaussians(points[0], (8, 12, 1), 1.0)
    assert_close(maps[0], 3 * torch.maximum(one, two))
    assert_close(maps[1], 3 * draw_gaussians(points[1, :1], (8, 12, 1), 1.0)[0])


def test_a_coarser_map_has_narrower_gaussians_but_none_under_a_voxel():
    codec = HeatmapCodec(sigma_vox=3.0)
    assert [codec.narrowed(factor).sigma_vox for factor in (1, 2, 8)] == [3.0, 1.5, 1.0]
    assert HeatmapCodec(sigma_vox=0.7).narrowed(4).sigma_vox == 0.7


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"reading": "height"}, "reading must be one of softmax, heights, sigmoid, log, got 'height'"),
        ({"instances": 3}, "several instances need maps of heights"),
    ],
)
def test_what_no_codec_can_read_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        HeatmapCodec(**options)


def test_a_plateau_is_one_peak():
    maps = torch.zeros(1, 9, 9, 1)
    maps[0, 3:5, 3:6] = 1.0
    maps[0, 8, 8] = 0.5
    peaks = HeatmapCodec(reading="heights", decode_radius=2).decode(maps)
    assert_close(peaks.heights, torch.tensor([[1.0, 0.5, 0, 0]]))
