"""A plan as a bundle's files, which MONAI and the detector read alike."""

import json

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from lmk3d.components import build
from lmk3d.configure import LevelPlan, Plan, bundle_files, write_bundle
from lmk3d.configure.run import parsed
from lmk3d.inference import LandmarkDetector

LEVELS = (
    LevelPlan(1.0, 8, 1.5, channels=(4, 4, 4), count=3),
    LevelPlan(0.5, 16, 0.7, channels=(4, 4, 4), count=2, passes=2),
)


def plan(**options):
    settings = {"pairs": (("left", "right"),), "low": -100.0, "high": 300.0, "sides": (16, 16, 32), "channels": (4, 8)}
    settings |= {"names": ("left", "right", "top"), "spacing_mm": 2.0, "levels": LEVELS, "shift_mm": (1.0, 2.0, 3.0)}
    return Plan("tiny", "for tests", **{**settings, **options})


def test_every_number_of_the_plan_stands_in_the_files():
    files = bundle_files(plan(waves_mm=(0.51239, 20.0), epochs=7, learning_rate=3e-4, repeats=5, batch_size=3))
    train = files["train.json"]
    assert (train["epochs"], train["learning_rate"], train["spacing_mm"]) == (7, 3e-4, 2.0)
    assert train["names"] == ["left", "right", "top"]
    assert train["pairs"] == [["left", "right"]]
    assert train["train"]["dataloader"]["batch_size"] == 3
    assert train["train"]["sampler"]["num_samples"] == "$5 * len(@train#dataset)"
    augment = {one["_target_"].rpartition(".")[2]: one for one in train["train"]["augment"]}
    assert augment["RandWavesd"]["amplitude_mm"] == 0.512
    assert augment["RandPosed"]["shift_mm"] == [1.0, 2.0, 3.0]
    assert augment["RandPatchesd"]["level"] == 1
    assert [level["passes"] for level in files["inference.json"]["levels"]] == [1, 2]
    for name in ("names", "spacing_mm", "window", "codec", "levels", "network_def"):
        assert files["inference.json"][name] == train[name]  # trained and used alike


def test_waves_and_pose_search_are_left_out_where_the_plan_has_none():
    text = json.dumps(bundle_files(plan())["train.json"])
    assert "RandWavesd" not in text
    assert "learn_shape" not in text
    turned = bundle_files(plan(any_pose=True))
    assert turned["inference.json"]["detector"]["pose"] == "any"
    assert turned["train.json"]["shape_model"].startswith("$lmk3d.priors.learn_shape")


def test_the_files_are_plain_json(tmp_path):
    write_bundle(tmp_path / "bundle", plan())
    for name, content in bundle_files(plan()).items():
        text = (tmp_path / "bundle" / name).read_text(encoding="utf-8")
        assert json.loads(text) == json.loads(json.dumps(content))
        assert text.endswith("}\n")
    assert (tmp_path / "bundle" / "logging.conf").is_file()
    assert not list((tmp_path / "bundle").glob("*.part"))


def test_the_detector_is_built_from_inference_json(tmp_path):
    files = bundle_files(plan(any_pose=True, tolerance_mm=3.0))
    detector = build(files["inference.json"], "detector", tmp_path / "inference.json")
    assert isinstance(detector, LandmarkDetector)
    assert (detector.names, detector.pose, detector.tolerance_mm) == (("left", "right", "top"), "any", 3.0)
    assert detector.levels[1].passes == 2
    assert detector.network(torch.rand(1, 1, 16, 16, 16)).shape == (1, 3, 8, 8, 8)


@pytest.mark.parametrize("any_pose", [False, True])
def test_a_sample_of_training_has_all_that_the_objective_needs(tiny_dataset, tmp_path, any_pose):
    write_bundle(tmp_path, plan(any_pose=any_pose, waves_mm=(0.3, 15.0), dataset=str(tiny_dataset)))
    parser = parsed(tmp_path, {"device": "$torch.device('cpu')"})
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    assert {key: tuple(value.shape) for key, value in batch.items()} == {
        "input": (2, 1, 16, 16, 32),
        "points_vox": (2, 3, 3),
        "patches0": (2, 3, 8, 8, 8),
        "numbers0": (2, 3),
        "moves0": (2, 3, 3),
        "patches1": (2, 2, 16, 16, 16),
        "numbers1": (2, 2),
        "moves1": (2, 2, 3),
    }
    losses = parser.get_parsed_content("objective")(batch)
    assert list(losses) == ["heatmap", "refined 1", "refined 2"]
    assert all(np.isfinite(loss.item()) for loss in losses.values())


def test_the_papers_settings_go_on_top(tiny_dataset, tmp_path):
    write_bundle(tmp_path, plan(dataset=str(tiny_dataset)))
    parser = ConfigParser()
    parser.read_config([str(tmp_path / "train.json"), str(tmp_path / "paper.json")])
    small = {  # its 128^3 voxels and 64^3 patches take a minute a step here
        "network_def#heatmap#channels": [4, 8, 8, 8],
        "network_def#refiners#0#patch_size": 16,
        "network_def#refiners#0#channels": [2, 2, 2, 2],
        "sides": [16, 16, 16],
        "train#augment#3#size": 16,
        "device": "$torch.device('cpu')",
    }
    for name, value in small.items():
        parser[name] = value
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    assert batch["input"].shape == (4, 1, 16, 16, 16)
    losses = parser.get_parsed_content("objective")(batch)
    assert all(np.isfinite(loss.item()) for loss in losses.values())
    assert parser.get_parsed_content("objective").side_weights == (0.3, 0.6, 0.9)


FILMS = {"training": [{"seed": seed, "kind": "skull", "side_px": 64} for seed in (1, 2)], "validation": []}


def film_plan(**options):
    settings = {"sides": (64, 64, 1), "phantoms": FILMS, "names": ("sella", "nasion"), "pairs": (), "percentiles": True}
    settings |= {"low": 0.5, "high": 99.5, "levels": (LevelPlan(2.0, 16, 3.0, channels=(4, 4, 4), count=3),)}
    return plan(**settings, waves_mm=(1.0, 60.0), **options)


def test_a_sample_of_films_is_flat_all_through(tmp_path):
    write_bundle(tmp_path, film_plan())
    parser = parsed(tmp_path, {"device": "$torch.device('cpu')"})
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    assert {key: tuple(value.shape) for key, value in batch.items()} == {
        "input": (2, 1, 64, 64, 1),
        "points_vox": (2, 2, 3),
        "patches0": (2, 3, 16, 16, 1),
        "numbers0": (2, 3),
        "moves0": (2, 3, 3),
    }
    assert not batch["points_vox"][..., 2].any()
    losses = parser.get_parsed_content("objective")(batch)
    assert all(np.isfinite(loss.item()) for loss in losses.values())
    kinds = {type(layer).__name__ for layer in parser.get_parsed_content("network").modules()}
    assert {"Conv2d", "FlatDepth", "FlatPatches"} <= kinds
    assert "Conv3d" not in kinds


def test_the_papers_settings_go_on_top_of_films_too(tmp_path):
    write_bundle(tmp_path, film_plan())
    parser = ConfigParser()
    parser.read_config([str(tmp_path / "train.json"), str(tmp_path / "paper.json")])
    parser["device"] = "$torch.device('cpu')"
    parser["train#dataloader#batch_size"] = 2
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    assert batch["input"].shape == (2, 1, 64, 64, 1)
    losses = parser.get_parsed_content("objective")(batch)
    assert all(np.isfinite(loss.item()) for loss in losses.values())


def test_films_without_a_spacing_say_so_in_the_files():
    files = bundle_files(film_plan(unit="px", side_px=500.0, miss_mm=50.0))
    assert files["inference.json"]["detector"]["side_px"] == 500.0
    train = files["train.json"]
    assert train["train"]["load"][0]["side_px"] == train["validate"]["dataset"]["transform"]["side_px"] == 500.0
    assert train["validate"]["evaluator"]["miss_mm"] == 50.0
    (line,) = (one for one in train["train"]["handlers"] if "ProgressLine" in str(one))
    assert line["unit"] == "px"
    assert files["metadata.json"]["network_data_format"]["outputs"]["pred"]["spatial_shape"] == [32, 32, 1]


def test_varied_films_look_different_at_every_step():
    augment = bundle_files(film_plan(varied=True))["train.json"]["train"]["augment"]
    of_input = [one["_target_"] for one in augment if one.get("keys") == "input" and "_target_" in one]
    assert of_input == [
        "RandAdjustContrastd",
        "RandScaleIntensityd",
        "RandShiftIntensityd",
        "RandGaussianSmoothd",
        "RandCoarseDropoutd",
        "RandGaussianNoised",
    ]
    assert not [one for one in augment if one.get("keys") == "patches0" and "Coarse" in one["_target_"]]
    plain = bundle_files(film_plan())["train.json"]["train"]["augment"]
    assert len(plain) == len(augment) - 6
