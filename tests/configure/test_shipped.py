"""The bundle that ships with the package is what its plan says."""

import json
from pathlib import Path

import pytest

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
