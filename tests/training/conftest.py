"""Trainings of a tiny cascade, as MONAI's command would run them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from monai.bundle import ConfigParser

from lmk3d.configure import LevelPlan, Plan, bundle_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def plan_of(dataset: Path, **options: Any) -> Plan:
    settings = {
        "names": ("left", "right", "top"),
        "pairs": (("left", "right"),),
        "low": 0.0,
        "high": 600.0,
        "spacing_mm": 2.0,
        "sides": (16, 16, 16),
        "levels": (LevelPlan(1.0, 8, 1.0, channels=(4, 4, 4), count=2),),
        "channels": (4, 8),
        "waves_mm": (0.3, 15.0),
        "epochs": 4,
        "validate_every": 2,
        "dataset": str(dataset),
    }
    return Plan("tiny", "for tests", **{**settings, **options})


def make_trainer(folder: Path, plan: Plan, **changes: Any) -> tuple[Any, ConfigParser]:
    """The trainer that ``monai.bundle run`` would run."""
    folder.mkdir(exist_ok=True)
    (folder / "train.json").write_text(json.dumps(bundle_files(plan)["train.json"]), encoding="utf-8")
    parser = ConfigParser()
    parser.read_config(str(folder / "train.json"))
    for name, value in {"bundle_root": str(folder), "device": "$torch.device('cpu')", "amp": False, **changes}.items():
        parser[name] = value
    parser.get_parsed_content("initialize")
    return parser.get_parsed_content("train#trainer"), parser


@pytest.fixture(scope="session")
def tiny_plan() -> Callable[..., Plan]:
    return plan_of


@pytest.fixture(scope="session")
def trainer_of() -> Callable[..., tuple[Any, ConfigParser]]:
    return make_trainer
