"""What each method asks of its first stage."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lmk3d.codecs import DenseCodec, HeatmapCodec
from lmk3d.losses import spatial_cross_entropy
from lmk3d.networks import HeatmapCoordinateNet, LandmarkNet
from lmk3d.networks.blocks import FlatDepth
from lmk3d.objectives import CoordinateObjective, DenseObjective, MapObjective

POINTS = torch.tensor([[[10.0, 12, 0], [20.3, 7.6, 0]], [[15.0, 15, 0], [torch.nan] * 3]])
SHAPE = (32, 24, 1)


class Says(torch.nn.Module):
    """A network that says what it was told."""

    def __init__(self, *maps):
        super().__init__()
        self.maps = maps

    def forward(self, image):
        return self.maps[-1]

    def with_sides(self, image):
        return list(self.maps)


def targets(codec):
    return torch.stack([codec.draw(points, SHAPE) for points in POINTS])


def test_the_squared_error_is_0_for_the_target_and_1_for_silence():
    codec = HeatmapCodec(sigma_vox=2.0, reading="heights")
    batch = {"input": torch.zeros(2, 1, *SHAPE), "points_vox": POINTS}
    assert MapObjective(codec)(Says(targets(codec)), batch) == {"heatmap": torch.tensor(0.0)}
    assert MapObjective(codec)(Says(torch.zeros(2, 2, *SHAPE)), batch)["heatmap"] == pytest.approx(1.0, rel=1e-3)


def test_a_landmark_without_a_point_is_unknown_or_absent():
    codec = HeatmapCodec(sigma_vox=2.0, reading="heights")
    batch = {"input": torch.zeros(2, 1, *SHAPE), "points_vox": POINTS}
    maps = targets(codec)
    maps[1, 1, 3, 3] = 5.0  # where nothing is annotated
    assert MapObjective(codec)(Says(maps), batch)["heatmap"] == 0
    loss = MapObjective(codec, missing="absent")(Says(maps), batch)["heatmap"]
    assert loss == pytest.approx(25 / (math.pi * 4) / 4, rel=1e-3)  # one voxel of four maps


def test_the_foreground_weighs_more_where_it_is_asked_to():
    codec = HeatmapCodec(sigma_vox=2.0, reading="heights")
    batch = {"input": torch.zeros(2, 1, *SHAPE), "points_vox": POINTS}
    plain, weighed = (
        MapObjective(codec, foreground=value)(Says(torch.zeros(2, 2, *SHAPE)), batch)["heatmap"] for value in (0, 3)
    )
    # The sum of g^2 (1 + 3 g) over that of g^2, in the plane: 1 + 3 * 2 / 3.
    assert float(weighed / plain) == pytest.approx(3.0, rel=1e-3)


def test_side_outputs_meet_targets_at_their_own_resolution():
    codec = HeatmapCodec(sigma_vox=2.0, reading="heights")
    batch = {"input": torch.zeros(2, 1, *SHAPE), "points_vox": POINTS}
    points = (POINTS + 0.5) / torch.tensor([4.0, 4, 1]) - 0.5  # a film stays one voxel deep
    coarse = torch.stack([codec.narrowed(4).draw(own, (8, 6, 1)) for own in points])
    objective = MapObjective(codec, side_weights=[0.5])
    losses = objective(Says(coarse, targets(codec)), batch)
    assert losses["sides"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="side_weights must name 0, one a side, got 1"):
        objective(Says(targets(codec)), batch)
    network = FlatDepth(LandmarkNet(2, widths=(4, 4), depths=(1, 1), lateral=4, level=4))
    losses = MapObjective(codec, side_weights=[1.0, 1.0])(network, batch)
    assert list(losses) == ["heatmap", "sides"]


def test_several_instances_count_as_known_when_one_is():
    codec = HeatmapCodec(sigma_vox=2.0, reading="heights", instances=2)
    points = POINTS[:, None]  # one landmark with two instances, of which the second image shows one
    batch = {"input": torch.zeros(2, 1, *SHAPE), "points_vox": points}
    maps = torch.stack([codec.draw(own, SHAPE) for own in points])
    assert maps.shape == (2, 1, *SHAPE)
    assert MapObjective(codec)(Says(maps), batch)["heatmap"] == 0


def test_cross_entropy_is_least_at_the_targets_logits():
    codec = HeatmapCodec(sigma_vox=1.2, reading="sigmoid")
    batch = {"input": torch.zeros(2, 1, *SHAPE), "points_vox": POINTS}
    objective = MapObjective(codec, loss="bce")
    best = torch.logit(targets(codec).clamp(1e-6, 1 - 1e-6))
    least = objective(Says(best), batch)["heatmap"]
    assert all(objective(Says(best + step), batch)["heatmap"] > least for step in (-0.3, 0.3))


def test_a_softmax_is_learnt_as_the_cascade_learns_it():
    codec, maps = HeatmapCodec(sigma_vox=1.0), torch.randn(2, 2, *SHAPE)
    batch = {"input": torch.zeros(2, 1, *SHAPE), "points_vox": POINTS}
    known = ~POINTS.isnan().any(-1)
    loss = MapObjective(codec, loss="softmax")(Says(maps), batch)["heatmap"]
    assert_close(loss, spatial_cross_entropy(maps, POINTS, 1.0, known=known))


@pytest.mark.parametrize("learnt", [False, True])
def test_points_and_maps_are_learnt_side_by_side(learnt):
    network = FlatDepth(
        HeatmapCoordinateNet(
            2, channels=(4, 8), trunk=(8,), middle=0, trunk_size=(16, 16), hidden=4, learnt=learnt, sigma=0.1
        )
    )
    batch = {"input": torch.rand(2, 1, *SHAPE), "points_vox": POINTS}
    codec = HeatmapCodec(sigma_vox=1.2, reading="log")
    losses = CoordinateObjective(MapObjective(codec, loss="bce"), weight=2.0)(network, batch)
    _, points = network.with_points(batch["input"])
    square = ((points[..., :2] - (POINTS[..., :2] + 0.5) / torch.tensor([32, 24])) ** 2).sum(-1)
    if learnt:
        square = square / 2 / 0.01 + 2 * math.log(0.1)
    assert_close(losses["coordinates"], 2 * square[~square.isnan()].mean())
    sum(losses.values()).backward()
    assert (network.network.widths.grad is not None) is learnt


DENSE = DenseCodec(tuple("abcd"), {"square": list("abcd")})
TEMPLATE_MM = np.array([[0.0, 0, 0], [0, 10, 0], [10, 10, 0], [10, 0, 0]])


def dense_batch():
    points = np.array([[[4.0, 4, 0], [20, 4, 0], [20, 18, 0], [4, 18, 0]]])
    target = DENSE.draw(points[0], SHAPE, TEMPLATE_MM)[None]
    uv = torch.as_tensor(DENSE.template_uv(TEMPLATE_MM), dtype=torch.float32)[None]
    return {"input": torch.zeros(1, 1, *SHAPE), "points_vox": torch.tensor(points).float(), "target": target,
            "template_uv": uv}  # fmt: skip


def test_a_perfect_dense_map_costs_its_variation_alone():
    batch = dense_batch()
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(24.0), indexing="ij")
    logits = torch.stack([40 * batch["target"][0, 0, :, :, 0] - 20, (columns - 4) / 7 - 1, (rows - 4) / 8 - 1])
    losses = DenseObjective(DENSE)(Says(logits[None, ..., None]), batch)
    assert losses["mask"] < 1e-6
    assert losses["uv"] == pytest.approx(0, abs=1e-6)
    assert losses["landmarks"] == pytest.approx(0, abs=1e-6)
    # u climbs by 1/7 along columns, v by 1/8 along rows; both are averaged over two maps.
    assert losses["smooth"] == pytest.approx(0.2 * (1 / 7 + 1 / 8) / 2, rel=1e-4)


def test_dense_weights_are_those_of_the_sum():
    batch = dense_batch()
    maps = torch.randn(1, 3, *SHAPE)
    one, two = (DenseObjective(DENSE, mask=m, uv=u, smooth=s)(Says(maps), batch) for m, u, s in ((1, 2, 1), (3, 4, 0)))
    for name, factor in {"mask": 3, "uv": 2, "landmarks": 2, "smooth": 0}.items():
        assert_close(two[name], factor * one[name])
    assert_close(one["landmarks"] * 0 + 1, torch.tensor(1.0))  # finite


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"loss": "mae"}, "loss must be 'mse', 'bce' or 'softmax', got 'mae'"),
        ({"missing": "no"}, "missing must be 'unknown'"),
    ],
)
def test_what_is_no_objective_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        MapObjective(HeatmapCodec(), **options)
