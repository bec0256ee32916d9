"""The calibration beside a bundle's weights: written, read, stale, damaged, and what it does to a prediction."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from lmk3d.calibration import Calibration, calibration_file, read_calibration, write_calibration
from lmk3d.conformal import Radii
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
    radii = Radii(np.array([[1.5, np.nan], [np.inf, 2.0]]), ("a", "b"))
    write_calibration(Calibration(CASES, EMPTY, radii), weights)
    found, notes = read_calibration(weights, NAMES)
    assert notes == ()
    assert (found.cases, found.radii.patients, found.trust.names) == (CASES, ("a", "b"), NAMES)
    np.testing.assert_array_equal(found.radii.scores, radii.scores)
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
    assert note.startswith(
        "nothing assesses its predictions, for it is an ensemble, or was calibrated on too few cases"
    )
    assert found.assessed(points, None, 0.9) is points


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "version 2 is not 1"),
        ({"cases": {"training": 9}}, "'validation'"),
        ({"radii": {"patients": ["a"], "scores": [[1.0, 2.0, 3.0]]}}, "radii are of 3 landmarks, not of 2"),
        ({"radii": {"patients": ["a"]}}, "radii: KeyError"),
        ({"trust": {"names": []}}, "trust: KeyError"),
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
    found = Calibration(CASES, trust).assessed(points, None, 0.9)
    assert found.assessment.verdict == "doubtful"
    np.testing.assert_array_equal(found.error_mm, [1.0, np.nan])
    np.testing.assert_array_equal(found.points_mm, points.points_mm)


def test_radii_are_in_the_unit_of_the_image_and_none_of_points_that_are_not_trusted():
    points = Landmarks(NAMES, np.zeros((2, 3)), error_mm=[1.0, 2.0])
    radii = Radii(np.outer(np.arange(1.0, 20), [1, 3]), tuple("abcdefghijklmnopqrs"))
    evidence = SimpleNamespace(
        numbers=np.array([1, 0]), there=np.array([True, True]), scale=np.array([4.0, 8]), factor=2
    )
    found = Calibration(CASES, None, radii).assessed(points, evidence, 0.5)
    assert found.coverage == 0.5
    np.testing.assert_array_equal(found.error_mm, [60, 40])  # the tenth of 19 scores, times 4 / 2 and 8 / 2
    trust = SimpleNamespace(assess=lambda evidence: Assessment((), ("far off", "")))
    found = Calibration(CASES, trust, radii).assessed(points, evidence, 0.5)
    np.testing.assert_array_equal(found.error_mm, [np.nan, 40])
    evidence.there[:] = False, True
    np.testing.assert_array_equal(
        Calibration(CASES, None, radii).assessed(points, evidence, 0.5).error_mm, [np.nan, 40]
    )
