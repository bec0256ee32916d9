"""The bundle that ships with the package is what its plan says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Events

from lmk3d.components import build
from lmk3d.configure import bundle_files
from lmk3d.configure.run import parsed
from lmk3d.configure.shipped import CASCADE, SHIPPED
from lmk3d.synthetic import film_phantom

BUNDLES = Path(__file__).parent.parent.parent / "bundles"
BUNDLE = BUNDLES / "cascade"
METHODS = [plan for plan in SHIPPED if plan is not CASCADE]


@pytest.mark.parametrize("plan", SHIPPED, ids=lambda plan: plan.name)
def test_the_committed_files_are_those_of_the_plan(plan):
    for name, content in bundle_files(plan).items():
        committed = json.loads((BUNDLES / plan.name / name).read_text(encoding="utf-8"))
        assert committed == json.loads(json.dumps(content)), "run python -m lmk3d.configure.shipped bundles"
    for name in ("LICENSE", "docs/README.md", "logging.conf"):
        assert (BUNDLES / plan.name / name).is_file()


@pytest.mark.parametrize("plan", SHIPPED, ids=lambda plan: plan.name)
def test_the_training_configuration_has_no_slip(plan):
    assert parsed(BUNDLES / plan.name, {})["epochs"] == plan.epochs


def small(plan, folder, sides):
    """Changes that train a method's bundle in a second: few small films, narrow networks."""
    films = {section: [{**one, "side_px": 64} for one in some[:2]] for section, some in plan.phantoms.items()}
    changes = {"bundle_root": str(folder), "phantoms": films, "epochs": 1, "validate_every": 1, "amp": False}
    return changes | {
        "device": "$torch.device('cpu')",
        "train#dataloader#batch_size": 2,
        "spacing_mm": plan.spacing_mm * max(plan.sides) / max(sides),
        "sides": sides,
    }


@pytest.mark.parametrize("paper", [False, True], ids=["ours", "paper"])
@pytest.mark.parametrize("plan", METHODS, ids=lambda plan: plan.name)
def test_a_step_of_each_methods_training_changes_its_weights(plan, paper, tmp_path):
    files = bundle_files(plan)
    changes = {**(files["paper.json"] if paper else {}), **small(plan, tmp_path, [64, 64, 1])}
    narrow = {"channels": [4, 4, 8, 8], "widths": [8] * 4, "depths": [1] * 4, "lateral": 4, "level": 4, "middle": 0}
    narrow |= {"width": 4, "trunk": [4, 4, 8], "trunk_size": [32, 32], "hidden": 8}
    network = changes.pop("network_def#heatmap", files["train.json"]["network_def"]["heatmap"])["network"]
    for name, value in narrow.items():
        if name in network or (plan.name == "landmarknet" and name in ("widths", "depths", "lateral", "level")):
            network[name] = value
    changes["network_def#heatmap#network"] = network
    parser = parsed(BUNDLES / plan.name, changes)
    trainer, network = parser.get_parsed_content("train#trainer"), parser.get_parsed_content("network")
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    trainer.run()
    assert np.isfinite(trainer.state.output["loss"].item())
    assert any(not torch.equal(weight, before[name]) for name, weight in network.named_parameters())
    assert (tmp_path / "models" / "model.pt").is_file()
    if plan.name == "denseseg":
        assert network.mean_shape.any()
    if plan.name == "appearance_context" and paper:
        assert network.template.any()
        found = parser.get_parsed_content("detector").detect(film_phantom(1, kind="skull", side_px=64).volume)
        assert found.names == plan.names


@pytest.mark.parametrize("plan", METHODS, ids=lambda plan: plan.name)
def test_the_detector_of_each_method_is_built_without_monai(plan):
    path = BUNDLES / plan.name / "inference.json"
    detector = build(json.loads(path.read_text(encoding="utf-8")), "detector", path)
    assert detector.names == tuple(plan.names)
    assert detector.codec.instances == plan.instances


def test_the_detector_knows_fourteen_landmarks():
    path = BUNDLE / "inference.json"
    detector = build(json.loads(path.read_text(encoding="utf-8")), "detector", path)
    assert len(detector.names) == 14
    assert detector.first_stage_grid is not None


def test_no_phantom_is_in_two_sections():
    seeds = [phantom["seed"] for section in CASCADE.phantoms.values() for phantom in section]
    assert len(seeds) == len(set(seeds))


def test_two_steps_of_its_training_change_both_stages(tmp_path):
    phantom = {"region": "heart", "shape": [32, 32, 32], "spacing_mm": 5.0}
    changes = {
        "bundle_root": str(tmp_path),
        "phantoms": {
            "training": [{"seed": seed, **phantom} for seed in (1, 2, 3, 4)],
            "validation": [{"seed": 5, **phantom}],
        },
        "epochs": 1,
        "sides": [32, 32, 32],  # half of its own, for the test's sake
        "device": "$torch.device('cpu')",
        "amp": False,
    }
    parser = parsed(BUNDLE, changes)
    trainer = parser.get_parsed_content("train#trainer")
    network = parser.get_parsed_content("network")
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    losses = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"].item())
    )
    trainer.run()
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    changed = {
        name.split(".")[0] for name, weight in network.state_dict().items() if not torch.equal(weight, before[name])
    }
    assert {"heatmap", "refiners"} <= changed
    assert (tmp_path / "models" / "model.pt").is_file()
