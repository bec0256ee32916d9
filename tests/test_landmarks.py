"""Named points that may be missing or have several instances."""

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.landmarks import Assessment, Landmarks

GONE = [np.nan] * 3


@pytest.fixture
def spine():
    """Two instances of a process, a missing apex, a root."""
    return Landmarks(
        ("process", "apex", "process", "root"),
        [[1, 2, 3], GONE, [4, 5, 6], [7, 8, 9]],
        confidence=[0.9, 0.1, 0.8, np.nan],
        error_mm=[1, np.nan, 2, 3],
    )


def test_a_name_gives_all_its_present_instances(spine):
    assert len(spine) == 4
    assert_array_equal(spine["process"], [[1, 2, 3], [4, 5, 6]])
    assert spine["apex"].shape == (0, 3)
    assert spine["unheard of"].shape == (0, 3)
    assert_array_equal(spine.present, [True, False, True, True])


def test_rows_keep_what_belongs_to_them(spine):
    for index in ([3, 0], np.array([3, 0]), np.array([-1, 0])):
        rows = spine.rows(index)
        assert rows.names == ("root", "process")
        assert_array_equal(rows.points_mm, [[7, 8, 9], [1, 2, 3]])
        assert_array_equal(rows.confidence, [np.nan, 0.9])
        assert_array_equal(rows.error_mm, [3, 1])
    assert spine.rows(spine.present).names == ("process", "process", "root")
    assert len(spine.rows([])) == 0


def test_ordering_takes_first_instances_and_fills_in_missing_rows(spine):
    ordered = spine.ordered(["root", "apex", "nowhere", "process"])
    assert ordered.names == ("root", "apex", "nowhere", "process")
    assert_array_equal(ordered.points_mm, [[7, 8, 9], GONE, GONE, [1, 2, 3]])
    # How sure the detector was that the apex is missing is kept; nobody said anything of "nowhere".
    assert_array_equal(ordered.confidence, [np.nan, 0.1, np.nan, 0.9])
    assert_array_equal(ordered.error_mm, [3, np.nan, np.nan, 1])


def test_ordering_takes_the_first_instance_that_is_there():
    points = Landmarks(("a", "a", "a"), [GONE, [1, 1, 1], [2, 2, 2]], confidence=[0.1, 0.2, 0.3])
    assert_array_equal(points.ordered(["a"]).points_mm, [[1, 1, 1]])
    assert_array_equal(points.ordered(["a"]).confidence, [0.2])


def test_ordering_by_no_names_or_of_no_points_gives_what_was_asked_for(spine):
    assert len(spine.ordered([])) == 0
    empty = Landmarks((), [], confidence=[], unit="px")
    assert empty.points_mm.shape == (0, 3)
    ordered = empty.ordered(["a"])
    assert_array_equal(ordered.points_mm, [GONE])
    assert_array_equal(ordered.confidence, [np.nan])
    assert ordered.error_mm is None
    assert ordered.unit == "px"


@pytest.mark.parametrize(
    ("reasons", "doubts", "verdict", "trusted"),
    [
        ((), ("", "", ""), "trusted", [True, True, True]),
        ((), ("", "far off", ""), "doubtful", [True, False, True]),
        (("no CT",), ("", "", ""), "unlike the training data", [False, False, False]),
    ],
)
def test_what_is_not_trusted_is_withheld_and_still_said(reasons, doubts, verdict, trusted):
    points = Landmarks("abc", np.ones((3, 3)), [0.9, 0.8, 0.7], [1.0, 2.0, 3.0], assessment=Assessment(reasons, doubts))
    assert points.assessment.verdict == verdict
    assert_array_equal(points.trusted, trusted)
    left = points.withheld()
    assert_array_equal(left.present, trusted)
    assert_array_equal(np.isfinite(left.error_mm), trusted)
    assert_array_equal(left.confidence, points.confidence)
    assert left.assessment == points.assessment


def test_what_was_never_found_is_not_held_back():
    points = Landmarks("abc", [[0, 0, 0], [1, 1, 1], [np.nan] * 3], error_mm=[1, 2, np.nan])
    points = replace(points, assessment=Assessment((), ("", "far off", "")))
    assert points.withheld().held_back.tolist() == [False, True, False]
    kept = points.withheld(keep_points=True)
    assert not kept.held_back.any()
    assert kept.present.tolist() == [True, True, False]
    assert_array_equal(kept.error_mm, [1, np.nan, np.nan])
    unlike = replace(points, assessment=Assessment(("no CT",), ("", "", "")))
    assert unlike.withheld().held_back.tolist() == [True, True, False]
    assert unlike.withheld().withheld().suspect.tolist() == [True, True, False]
    assert unlike.withheld().rows([2, 1]).held_back.tolist() == [False, True]
    assert unlike.withheld().ordered("cbx").held_back.tolist() == [False, True, False]


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"held_back must have shape \(1,\), got \(2,\)"):
        Landmarks("a", [[np.nan] * 3], held_back=[True, False])


def test_doubts_stay_with_their_rows():
    points = Landmarks("abc", np.ones((3, 3)), assessment=Assessment((), ("", "far off", "")), coverage=0.9)
    assert points.rows([1, 0]).assessment.doubts == ("far off", "")
    assert points.ordered("bxa").assessment.doubts == ("far off", "", "")
    assert points.ordered("bxa").coverage == 0.9
    assert Landmarks("abc", np.ones((3, 3))).rows([0]).assessment is None
    assert_array_equal(Landmarks("abc", np.ones((3, 3))).trusted, True)


def test_points_are_copied_and_exact():
    source = np.array([[0.1, 0.2, 0.3]], dtype=np.float64)
    points = Landmarks(["a"], source)
    source[0, 0] = 9
    assert points.points_mm[0, 0] == 0.1
    assert points.points_mm.dtype == np.float64
    assert points.names == ("a",)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((("a",), np.zeros((2, 3))), "1 names came with 2 points; give one name for each row"),
        ((("a", "b", "c"), np.zeros((3, 2))), r"points_mm must be \(N, 3\), got shape \(3, 2\)"),
        ((("a", "b"), np.zeros((3, 2))), r"points_mm must be \(N, 3\)"),
        ((("a", "b"), [[0, 0, 0], [1, np.nan, 2]]), r"point 'b' is \[1.0, nan, 2.0\]; give three"),
        ((("a",), [[0, np.inf, 0]]), r"point 'a' is \[0.0, inf, 0.0\]"),
        ((("a",), [[0, 0, 0]], [0.1, 0.2]), r"confidence must have shape \(1,\), got \(2,\)"),
        ((("a",), [[0, 0, 0]], None, 0.5), r"error_mm must have shape \(1,\), got \(\)"),
        ((("a",), [[0, 0, 0]], None, None, "cm"), "unit must be 'mm' or 'px', got 'cm'"),
        ((("a",), [[0, 0, 0]], None, None, "mm", (), Assessment((), ())), "1 points came with 0 doubts"),
        ((("a",), [[0, 0, 0]], None, None, "mm", (), None, 1.0), "coverage must lie between 0 and 1"),
    ],
)
def test_what_is_no_set_of_landmarks_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        Landmarks(*arguments)


def test_deviations_of_expected_errors_and_of_radii():
    points = Landmarks("ab", np.zeros((2, 3)), error_mm=[np.sqrt(8 / np.pi), np.nan])
    assert_allclose(points.deviation_mm(), [1, np.nan])
    assert_allclose(replace(points, coverage=0.9).deviation_mm()[0], np.sqrt(8 / np.pi) / 2.5003, rtol=1e-4)
    assert_allclose(replace(points, coverage=0.9).deviation_mm(2)[0], np.sqrt(8 / np.pi) / 2.1460, rtol=1e-4)
    assert_allclose(Landmarks("a", [[0, 0, 0]]).deviation_mm(), [np.nan])


COLUMNS = ["name", "R", "A", "S", "unit", "confidence", "error_mm", "coverage", "trusted"]


def test_a_table_has_a_row_for_each_point(monkeypatch):
    """What is handed to pandas, whether it is installed or not."""
    module = ModuleType("pandas")
    module.DataFrame = dict
    monkeypatch.setitem(sys.modules, "pandas", module)
    assessment = Assessment((), ("", "far off"))
    points = Landmarks(("a", "b"), [[1, 2, 3], [np.nan] * 3], error_mm=[0.5, 1], unit="px", assessment=assessment)
    table = points.to_dataframe()
    assert list(table) == COLUMNS
    assert table["name"] == ["a", "b"]
    assert_array_equal(np.stack([table[axis] for axis in "RAS"], axis=1), points.points_mm)
    assert table["unit"] == "px"
    assert np.isnan([table["confidence"], table["coverage"]]).all()
    assert table["error_mm"].tolist() == [0.5, 1.0]
    assert table["trusted"].tolist() == [True, False]


def test_without_pandas_a_table_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"needs pandas; install it \(pip install pandas\), or use write_points"):
        Landmarks(("a",), [[1, 2, 3]]).to_dataframe()


def test_a_table_that_pandas_writes_is_read_back(tmp_path):
    pytest.importorskip("pandas", reason="pandas is not installed; nothing here requires it")
    from lmk3d.io import read_points

    points = Landmarks(("a", "b"), [[1, 2.5, -3], [np.nan] * 3], confidence=[0.25, 0.5], unit="px")
    table = points.to_dataframe()
    assert list(table.columns) == COLUMNS
    assert len(table) == 2
    table.to_csv(tmp_path / "points.csv", index=False)
    found = read_points(tmp_path / "points.csv")
    assert (found.names, found.unit, found.notes) == (points.names, "px", ())
    assert_array_equal(found.points_mm, points.points_mm)
    assert_array_equal(found.confidence, points.confidence)
