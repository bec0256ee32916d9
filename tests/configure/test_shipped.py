"""The bundle that ships with the package is what its plan says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Events

from lmk3d.components import build
from lmk3d.configure import bundle_files
from lmk3d.configure.run import _parsed
from lmk3d.configure.shipped import CASCADE

BUNDLE = Path(__file__).parent.parent.parent / "bundles" / "cascade"


@pytest.mark.parametrize("name", sorted(bundle_files(CASCADE)))
def test_the_committed_files_are_those_of_the_plan(name):
    committed = json.loads((BUNDLE / name).read_text(encoding="utf-8"))
    assert committed == json.loads(json.dumps(bundle_files(CASCADE)[name])), (
        "run python -m lmk3d.configure.shipped bundles"
    )


def test_the_training_configuration_has_no_slip():
    assert _parsed(BUNDLE, {})["epochs"] == CASCADE.epochs


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
        "device": "$torch.device('cpu')",
        "amp": False,
    }
    parser = _parsed(BUNDLE, changes)
    (posed,) = (one for one in parser["train#augment"] if one["_target_"].endswith("RandPosed"))
    posed["sides"] = [32, 32, 32]  # half of its own, for the test's sake
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
