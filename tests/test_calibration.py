"""The calibration beside a bundle's weights: written, read, stale, damaged, and what it does to a prediction."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from lmk3d.calibration import Calibration, calibration_file, read_calibration, write_calibration
from lmk3d.errors import InputError
from lmk3d.landmarks import Assessment, Landmarks
from lmk3d.trust import Trust

NAMES = ("apex", "root")
CASES = {"training": 9, "validation": 4}
EMPTY = Trust(NAMES, (), None, np.array([[10.0, 10, 10], [20, 20, 20]]), None, None)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    return path


def test_a_calibration_comes_back(weights):
    write_calibration(Calibration(CASES, EMPTY, {"patients": 4}), weights)
    found, notes = read_calibration(weights, NAMES)
    assert notes == ()
    assert (found.cases, found.radii, found.trust.names) == (CASES, {"patients": 4}, NAMES)
    assert sorted(path.name for path in weights.parent.iterdir()) == ["calibration.json", "model.pt"]


def test_without_one_nothing_is_assessed_and_a_note_says_so(weights):
    assert read_calibration(weights, NAMES) == (
        None,
        ("nothing assesses its predictions, for it has no calibration: lmk3d calibrate makes one",),
    )


def test_one_of_other_weights_is_ignored_and_a_note_says_so(weights):
    write_calibration(Calibration(CASES, EMPTY), weights)
    weights.write_bytes(b"other weights")
    found, (note,) = read_calibration(weights, NAMES)
    assert found is None
    assert note.startswith("nothing assesses its predictions, for its calibration is of other weights: lmk3d calibrate")


def test_one_of_too_few_cases_says_so(weights):
    write_calibration(Calibration(CASES), weights)
    found, (note,) = read_calibration(weights, NAMES)
    points = Landmarks(NAMES, np.zeros((2, 3)))
    assert "too few cases" in note
    assert found.assessed(points, None) is points


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "version 2 is not 1"),
        ({"cases": {"training": 9}}, "'validation'"),
        ({"trust": {"names": []}}, "is nothing that calibration writes"),
        ({"trust": {**EMPTY.to_dict(), "names": ["apex", "other"]}}, "trust is of other landmarks"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(weights, change, reason):
    write_calibration(Calibration(CASES, EMPTY), weights)
    path = calibration_file(weights)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(InputError, match=r"calibration\.json: is damaged .*; remove it, and make it again") as failed:
        read_calibration(weights, NAMES)
    assert reason in str(failed.value)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="is damaged"):
        read_calibration(weights, NAMES)


def test_no_error_is_expected_of_points_that_are_not_trusted():
    points = Landmarks(NAMES, np.zeros((2, 3)), error_mm=[1.0, 2.0])
    trust = SimpleNamespace(assess=lambda evidence: Assessment((), ("", "far off")))
    found = Calibration(CASES, trust).assessed(points, None)
    assert found.assessment.verdict == "doubtful"
    np.testing.assert_array_equal(found.error_mm, [1.0, np.nan])
    np.testing.assert_array_equal(found.points_mm, points.points_mm)
