"""What a training computes: losses of a batch, the validation in mm, the lists of its cases."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import RandAdjustContrastd, SelectItemsd
from numpy.testing import assert_array_equal
from torch.testing import assert_close

from lmk3d.codecs import HeatmapCodec, LandmarkTree, ShapeModel
from lmk3d.errors import InputError
from lmk3d.landmarks import Landmarks
from lmk3d.losses import displacement_loss, exponential_mse, spatial_cross_entropy
from lmk3d.networks import Cascade, HeatmapRefiner, HeatmapUNet, RegressionRefiner
from lmk3d.training import (
    CascadeObjective,
    ClipGradients,
    DetectorEvaluator,
    datalist,
    first_stage_alone,
    prepare_batch,
    total_loss,
)
from lmk3d.transforms import LoadCased, RandPatchesd
from lmk3d.transforms.intensity import Window

GONE = [np.nan] * 3


def tiny_cascade(count=3, *, extra=0, num_sides=0, refiner=None):
    heatmap = HeatmapUNet(count + extra, channels=(4, 8), num_sides=num_sides)
    refiners = [refiner or HeatmapRefiner(count, patch_size=8, channels=(4, 4, 4), max_move_vox=4.0)]
    return Cascade(heatmap, refiners, num_landmarks=count)


def batch_of(generator, count=3):
    points = torch.as_tensor(generator.uniform(1, 7, size=(2, count, 3)), dtype=torch.float32)
    points[1, 0] = torch.nan
    moves = torch.as_tensor(generator.uniform(-2, 2, size=(2, 4, 3)), dtype=torch.float32)
    moves[0, 1] = torch.nan
    return {
        "input": torch.rand(2, 1, 8, 8, 8),
        "points_vox": points,
        "patches0": torch.rand(2, 4, 8, 8, 8),
        "numbers0": torch.as_tensor(generator.integers(0, count, size=(2, 4))),
        "moves0": moves,
    }


def test_the_objective_is_made_of_both_stages_losses():
    torch.manual_seed(0)
    network, codec = tiny_cascade(), HeatmapCodec(sigma_vox=1.0)
    batch = batch_of(np.random.default_rng(0))
    losses = CascadeObjective(network, codec=codec, spacings_mm=[0.5])(batch)
    assert list(losses) == ["heatmap", "refined 1"]
    points = batch["points_vox"]
    known = ~points.isnan().any(-1)
    assert_close(losses["heatmap"], spatial_cross_entropy(network(batch["input"]), points, 1.0, known=known))
    moves, log_variance = network.refiners[0](batch["patches0"].reshape(8, 1, 8, 8, 8), batch["numbers0"].reshape(8))
    expected = displacement_loss(moves, batch["moves0"].reshape(8, 3), log_variance)
    assert_close(losses["refined 1"], expected)
    assert_close(total_loss(losses), losses["heatmap"] + losses["refined 1"])


def test_the_first_stage_alone_gets_no_patches_and_its_loss_stays():
    torch.manual_seed(0)
    window = Window(-200.0, 700.0)
    patches = RandPatchesd("image", window=window, level=0, spacing_mm=1.0, size=8, offset_mm=1.0, count=2)
    input_, patch = (RandAdjustContrastd(key, prob=1.0) for key in ("input", "patches0"))
    chosen = SelectItemsd(["input", "points_vox", "patches0", "numbers0", "moves0"])
    load = LoadCased(["a"])
    kept = first_stage_alone([load, patches, input_, patch, chosen])
    assert kept[:2] == [load, input_]
    assert len(kept) == 3
    assert kept[2].keys == ("input", "points_vox")
    objective = CascadeObjective(tiny_cascade(), codec=HeatmapCodec(sigma_vox=1.0), spacings_mm=[0.5])
    batch = batch_of(np.random.default_rng(0))
    alone = objective({key: batch[key] for key in kept[2].keys})
    assert list(alone) == ["heatmap"]
    assert_close(alone["heatmap"], objective(batch)["heatmap"])


def test_a_landmark_without_a_point_is_unknown_or_absent():
    torch.manual_seed(0)
    network, codec = tiny_cascade(), HeatmapCodec(sigma_vox=1.0)
    batch = batch_of(np.random.default_rng(0))
    absent = CascadeObjective(network, codec=codec, spacings_mm=[0.5], missing="absent")(batch)["heatmap"]
    assert_close(absent, spatial_cross_entropy(network(batch["input"]), batch["points_vox"], 1.0))


def test_the_papers_objective_weighs_its_sides():
    torch.manual_seed(0)
    refiner = RegressionRefiner(3, patch_size=8, channels=(2, 2, 2), hidden=4)
    network = tiny_cascade(extra=1, num_sides=1, refiner=refiner)
    codec = HeatmapCodec(background=True)
    batch = batch_of(np.random.default_rng(0))
    losses = CascadeObjective(network, codec=codec, spacings_mm=[0.5], side_weights=[0.3])(batch)
    side, output = network.heatmap.with_sides(batch["input"])
    target = torch.stack([codec.draw(points, (8, 8, 8)) for points in batch["points_vox"]])
    grown = torch.nn.functional.interpolate(side, size=(8, 8, 8), mode="trilinear", align_corners=False)
    assert_close(losses["heatmap"], exponential_mse(output, target) + 0.3 * exponential_mse(grown, target))
    moves, _ = refiner(batch["patches0"].reshape(8, 1, 8, 8, 8), batch["numbers0"].reshape(8))
    assert_close(losses["refined 1"], displacement_loss(moves * 0.5, batch["moves0"].reshape(8, 3) * 0.5))


def test_batches_without_first_stage_train_the_refiners_alone():
    batch = batch_of(np.random.default_rng(0))
    del batch["input"]
    assert list(CascadeObjective(tiny_cascade(), codec=HeatmapCodec(), spacings_mm=[0.5])(batch)) == ["refined 1"]


@pytest.mark.parametrize("paper", [False, True])
def test_half_precision_gives_nearly_the_same_losses(paper):
    torch.manual_seed(0)
    refiner = RegressionRefiner(3, patch_size=8, channels=(2, 2, 2), hidden=4) if paper else None
    network = tiny_cascade(extra=int(paper), refiner=refiner)
    objective = CascadeObjective(network, codec=HeatmapCodec(background=paper), spacings_mm=[0.5])
    batch = batch_of(np.random.default_rng(0))
    expected = objective(batch)
    objective = CascadeObjective(network, codec=HeatmapCodec(background=paper), spacings_mm=[0.5], bfloat16=True)
    losses = objective(batch)
    assert not all(torch.equal(loss, expected[name]) for name, loss in losses.items())
    total_loss(losses).backward()
    for name, loss in losses.items():
        assert_close(loss, expected[name], rtol=0.05, atol=0.05)
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in network.parameters())


def test_no_landmark_at_all_makes_no_gradient_nan():
    network = tiny_cascade()
    batch = batch_of(np.random.default_rng(0))
    batch["points_vox"][:] = torch.nan
    batch["moves0"][:] = torch.nan
    total_loss(CascadeObjective(network, codec=HeatmapCodec(), spacings_mm=[0.5])(batch)).backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in network.parameters())


def test_the_objective_keeps_the_shape_with_the_weights():
    model = ShapeModel(np.arange(9.0).reshape(3, 3), np.eye(9))
    network = tiny_cascade()
    CascadeObjective(network, codec=HeatmapCodec(), spacings_mm=[0.5], shape=model)
    assert_array_equal(network.state_dict()["mean_shape"].numpy(), model.mean_mm)
    assert_array_equal(network.state_dict()["shape_covariance"].numpy(), model.covariance)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"missing": "maybe"}, "missing must be 'unknown' or 'absent', got 'maybe'"),
        ({"spacings_mm": []}, "spacings_mm must name 1, one a refiner, got 0"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        CascadeObjective(tiny_cascade(), **{"codec": HeatmapCodec(), "spacings_mm": [0.5], **options})


def test_side_weights_must_fit_the_sides():
    network = tiny_cascade(extra=1, num_sides=1)
    objective = CascadeObjective(network, codec=HeatmapCodec(background=True), spacings_mm=[0.5])
    with pytest.raises(ValueError, match="side_weights must name 1, one a side, got 0"):
        objective(batch_of(np.random.default_rng(0)))


def test_batches_become_plain_tensors():
    batch = {"input": MetaTensor(torch.ones(1, 2)), "numbers0": torch.tensor([1]), "name": ["a"]}
    tensors, targets = prepare_batch(batch, "cpu")
    assert targets is None
    assert list(tensors) == ["input", "numbers0"]
    assert type(tensors["input"]) is torch.Tensor


def test_a_data_list_names_images_and_points(tiny_dataset, capsys):
    cases = datalist(str(tiny_dataset), "validation")
    assert [case["image"] for case in cases] == [str(tiny_dataset.parent / f"{number}.nii.gz") for number in (4, 5)]
    assert all(case["label"].endswith(".mrk.json") for case in cases)
    assert capsys.readouterr().out == "loading 2 validation cases\n"
    datalist(str(tiny_dataset), "training")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "loading 4 training cases"
    assert lines[1].startswith("note: 4 training cases with points, fewer than ten: expect large errors")
    phantoms = datalist("", "training", [{"seed": 3}])
    assert phantoms == [{"image": {"seed": 3}, "label": ""}]
    assert "no data set given: training on 1 phantom; set --dataset to train on your own" in capsys.readouterr().out


def test_a_data_list_leaves_cases_without_points_out_and_hands_hints_on(tmp_path):
    content = {
        "landmarks": ["a"],
        "training": [{"image": "a.png", "points": "a.csv", "spacing_mm": 0.5}, {"image": "b.png"}],
    }
    (tmp_path / "d.json").write_text(json.dumps(content), encoding="utf-8")
    (case,) = datalist(str(tmp_path / "d.json"), "training")
    assert case == {"image": str(tmp_path / "a.png"), "label": str(tmp_path / "a.csv"), "spacing_mm": 0.5}
    with pytest.raises(InputError, match="no cases in section 'validation'"):
        datalist(str(tmp_path / "d.json"), "validation")


class KnowsBetter:
    """A detector that is wrong by what each stage was told, in mm along x; NaN for a missed landmark."""

    def __init__(self, truth, **offsets):
        self.truth, self.offsets, self.network, self.names = truth, offsets, tiny_cascade(), tuple("abc")

    def compare_masks(self, volume, truth):
        return {}

    def detect_stages(self, volume):
        def found(offset):
            points = self.truth + np.array([1.0, 0, 0]) * np.array(offset)[:, None]
            return Landmarks("abc", points, error_mm=np.where(np.isnan(offset), np.nan, 2.0))

        return {stage.replace("_", " "): found(offset) for stage, offset in self.offsets.items()}


def evaluated(detector, truths):
    image = MetaTensor(torch.zeros(1, 1, 9, 9, 9), affine=torch.eye(4))
    loader = [{"image": image, "label": torch.as_tensor(truth)[None]} for truth in truths]
    evaluator = DetectorEvaluator(loader, detector, miss_mm=20.0)
    evaluator.run()
    return evaluator.state.metrics


def test_the_validation_measures_every_stage_in_mm():
    truth = np.array([[1.0, 2, 3], [4, 5, 6], [7, 7, 7]])
    detector = KnowsBetter(truth, heatmap=[3.0, 3.0, np.nan], refined_1=[1.0, 3.0, np.nan])
    metrics = evaluated(detector, [truth])
    assert metrics["mean_error_mm heatmap"] == pytest.approx(26 / 3)  # 3, 3 and a miss at 20
    assert metrics["mean_error_mm refined 1"] == metrics["mean_error_mm"] == pytest.approx(8.0)
    assert metrics["median_error_mm"] == pytest.approx(3.0)
    assert metrics["within_2mm"] == pytest.approx(1 / 3)
    # 1 and 3 mm where 2 and 2 were claimed. The miss says nothing about it.
    assert float(detector.network.error_ratio) == pytest.approx(1.0)


def test_the_validation_keeps_how_often_each_landmark_is_taken_for_another():
    truth = np.array([[1.0, 2, 3], [4, 5, 6], [7, 7, 7]])
    detector = KnowsBetter(truth, heatmap=[3.0, 12.0, np.nan], refined_1=[1.0, 1.0, 1.0])
    detector.network = Cascade(detector.network.heatmap, [], num_landmarks=3, tree=True, steps=True)
    detector.network.keep(tree=LandmarkTree.from_shapes([truth * 6] * 3))  # the shortest step is 22 mm
    gone = np.where([[False], [True], [False]], np.nan, truth)
    evaluated(detector, [truth, truth, gone])
    # Far off, or missed in the image; where nobody marked it, nothing is known.
    assert_close(detector.network.mistakes, torch.tensor([0.0, 1, 1], dtype=torch.float64))
    detector.offsets["heatmap"] = [3.0, 11.0, 11.5]
    evaluated(detector, [gone])
    assert_close(detector.network.mistakes, torch.tensor([0.0, 0, 1], dtype=torch.float64))


class FindsInstances(KnowsBetter):
    """A detector of one name, of which it says as many points as it was told."""

    def __init__(self, *points):
        super().__init__(None)
        self.points, self.names = np.array(points), ("a",)

    def detect_stages(self, volume):
        return {"heatmap": Landmarks(("a",) * len(self.points), self.points, error_mm=np.ones(len(self.points)))}


def test_instances_are_matched_and_each_too_many_or_too_few_is_a_miss():
    truth = np.array([[[1.0, 1, 1], [1.0, 7, 1], GONE]])
    assert evaluated(FindsInstances([1.0, 7, 3], [1, 1, 1]), [truth])["mean_error_mm"] == pytest.approx(1.0)  # 2 and 0
    assert evaluated(FindsInstances([1.0, 7, 3]), [truth])["mean_error_mm"] == pytest.approx(11.0)  # 2 and a miss
    many = FindsInstances([1.0, 7, 3], [1, 1, 1], [8, 8, 8])
    assert evaluated(many, [truth])["mean_error_mm"] == pytest.approx(22 / 3)


def test_outlines_give_a_mean_dice():
    detector = KnowsBetter(np.zeros((3, 3)), heatmap=[1.0, 1.0, 1.0])
    detector.compare_masks = lambda volume, truth: {"one": {"dice": 0.5, "asd": 1.0}, "two": {"dice": 0.9, "asd": 1.0}}
    assert evaluated(detector, [np.zeros((3, 3))])["mean_dice"] == pytest.approx(0.7)


def test_the_error_ratio_turns_claimed_into_expected_errors():
    truth = np.array([[1.0, 2, 3], [4, 5, 6], [7, 7, 7]])
    detector = KnowsBetter(truth, heatmap=[1.0, 1.0, 1.0])
    evaluated(detector, [truth])
    assert float(detector.network.error_ratio) == pytest.approx(0.5)  # 1 mm where 2 mm were claimed


def test_a_network_that_misses_most_landmarks_expects_no_error_at_all():
    truth = np.array([[1.0, 2, 3], [4, 5, 6], [7, 7, 7]])
    detector = KnowsBetter(truth, heatmap=[1.0, np.nan, np.nan])
    assert np.isnan(float(detector.network.error_ratio))  # nor one that was never validated
    evaluated(detector, [truth])
    assert np.isnan(float(detector.network.error_ratio))
    detector.offsets["heatmap"] = [1.0, 1.0, np.nan]
    evaluated(detector, [truth])
    assert float(detector.network.error_ratio) == pytest.approx(0.5)
    detector.offsets["heatmap"] = [40.0, 40.0, 40.0]  # found, all of them in the wrong place
    evaluated(detector, [truth])
    assert np.isnan(float(detector.network.error_ratio))


def test_landmarks_without_truth_or_outside_the_image_count_as_nothing():
    truth = np.array([[1.0, 2, 3], GONE, [99, 0, 0]])
    metrics = evaluated(KnowsBetter(truth, heatmap=[2.0, 5.0, np.nan]), [truth])
    assert metrics["mean_error_mm"] == pytest.approx(2.0)


def test_a_validation_without_any_point_is_nan_and_no_warning():
    metrics = evaluated(KnowsBetter(np.full((3, 3), np.nan), heatmap=[1.0, 1.0, 1.0]), [np.full((3, 3), np.nan)])
    assert np.isnan(list(metrics.values())).all()


def test_gradients_are_cut_to_size_after_they_are_unscaled():
    weight = torch.nn.Linear(1, 1, bias=False)
    weight.weight.grad = torch.tensor([[300.0]])
    ClipGradients(5.0)(SimpleNamespace(network=weight, scaler=None))
    assert_close(weight.weight.grad, torch.tensor([[5.0]]), rtol=0, atol=1e-4)

    class Scaler:
        def unscale_(self, optimizer):
            assert optimizer == "optimizer"
            weight.weight.grad /= 100

    weight.weight.grad = torch.tensor([[300.0]])
    ClipGradients(5.0)(SimpleNamespace(network=weight, scaler=Scaler(), optimizer="optimizer"))
    assert_close(weight.weight.grad, torch.tensor([[3.0]]))


def test_a_gradient_that_is_lost_ends_the_training_in_one_line():
    weight = torch.nn.Linear(1, 1, bias=False)
    weight.weight.grad = torch.tensor([[float("nan")]])
    engine = SimpleNamespace(network=weight, scaler=None, state=SimpleNamespace(epoch=7))
    with pytest.raises(InputError, match="epoch 7: a gradient is NaN or infinite; lower learning_rate"):
        ClipGradients(5.0)(engine)
    engine.scaler, engine.optimizer = SimpleNamespace(unscale_=lambda optimizer: None), None
    ClipGradients(5.0)(engine)  # which leaves the step out


def test_the_objective_trains_the_refiners_heatmaps_where_it_is_asked_to():
    torch.manual_seed(0)
    batch = batch_of(np.random.default_rng(0))
    batch["patches0"] = torch.rand(2, 4, 8, 8, 8)
    batch["numbers0"] = torch.zeros(2, 4, dtype=torch.long)
    network = tiny_cascade()
    plain = CascadeObjective(network, codec=HeatmapCodec(), spacings_mm=[1.0])(batch)
    both = CascadeObjective(network, codec=HeatmapCodec(), spacings_mm=[1.0], patch_sigma_vox=1.0)(batch)
    assert list(plain) == ["heatmap", "refined 1"]
    assert sorted(both) == ["heat 1", "heatmap", "refined 1"]
    assert both["refined 1"].item() == pytest.approx(plain["refined 1"].item())
    each = CascadeObjective(network, codec=HeatmapCodec(), spacings_mm=[1.0], patch_sigma_vox=[None])(batch)
    assert list(each) == list(plain)
    both["heat 1"].backward()
    assert network.refiners[0].head.bias.grad.abs().sum() > 0  # "nowhere" is told apart from everywhere
