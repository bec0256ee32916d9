"""Measures with their uncertainty, and the files that hold them."""

import csv
import json

import numpy as np
import pytest

from lmk3d.apps.measure import measure_files, measure_points, text_of
from lmk3d.apps.plan import read_plan
from lmk3d.apps.sides import Side
from lmk3d.errors import InputError
from lmk3d.io import write_points
from lmk3d.landmarks import Assessment, Landmarks

NAMES = ("a", "b", "c", "top")
POINTS = np.array([[0.0, 0, 0], [300, 0, 0], [0, 400, 0], [0, 0, 120]])
# The mean length of a normal vector in space is sqrt(8 / pi) standard deviations: these errors stand for 1 mm a part.
ONE_MM = np.full(4, np.sqrt(8 / np.pi))
PLAN = {
    "planes": {"floor": {"through": ["a", "b", "c"]}},
    "measures": {
        "side": {"distance": ["a", "b"]},
        "corner": {"angle": ["b", "a", "c"]},
        "height": {"height": ["top", "floor"]},
        "turn": {"angle": ["b", "a", "c"], "in": "floor"},
        "share": {"ratio": ["height", "side"]},
    },
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.json").write_text(json.dumps(PLAN), encoding="utf-8")
    write_points(Landmarks(NAMES, POINTS, error_mm=ONE_MM), tmp_path / "one.mrk.json")
    gone = POINTS.copy()
    gone[3] = np.nan
    write_points(Landmarks(NAMES, gone), tmp_path / "two.csv")
    return tmp_path


def measured(folder, landmarks, **options):
    plan = read_plan(folder / "plan.json")
    return {own.name: own for own in measure_points(plan, landmarks, **options)}


def test_expected_errors_are_carried_over_by_hand(folder):
    found = measured(folder, Landmarks(NAMES, POINTS, error_mm=ONE_MM))
    assert found["side"].value == 300
    assert found["side"].sd == pytest.approx(np.sqrt(2), rel=0.03)  # both ends move 1 mm along it
    assert found["side"].high - found["side"].low == pytest.approx(2 * 1.96 * np.sqrt(2), rel=0.04)
    # Each leg turns by what its ends move across it, 1 / 300 and 1 / 400; the corner moves both: along the one leg it
    # turns the other by 1 / 400, and by 1 / 300.
    turn = np.degrees(np.sqrt(2 * (1 / 300**2 + 1 / 400**2)))
    assert found["corner"].sd == pytest.approx(turn, rel=0.03)
    assert found["height"].sd == pytest.approx(np.sqrt(2), rel=0.03)  # the point's own, and that of the corner below it
    assert found["share"].value == pytest.approx(0.4)
    assert (found["side"].unit, found["corner"].unit, found["share"].unit) == ("mm", "deg", "")


def test_one_error_may_stand_for_all_that_are_unknown(folder):
    some = ONE_MM.copy()
    some[0] = np.nan
    unknown = measured(folder, Landmarks(NAMES, POINTS, error_mm=some))["side"]
    assert unknown.value == 300
    assert np.isnan([unknown.sd, unknown.low, unknown.high]).all()
    given = measured(folder, Landmarks(NAMES, POINTS), error_mm=float(ONE_MM[0]))["side"]
    assert given.sd == pytest.approx(np.sqrt(2), rel=0.03)


def test_points_of_a_film_move_in_its_plane(folder):
    flat = np.array([[0.0, 0, 0], [300, 0, 0], [0, 400, 0], [50, 60, 0]])
    plan = {"measures": {"side": {"distance": ["a", "b"]}}}
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    found = measured(folder, Landmarks(NAMES, flat, error_mm=np.full(4, np.sqrt(np.pi / 2))))
    assert found["side"].sd == pytest.approx(np.sqrt(2), rel=0.03)


def test_a_signed_angle_does_not_turn_round_at_180(folder):
    points = POINTS.copy()
    points[2] = [-400, 0.5, 0]
    (folder / "plan.json").write_text(
        json.dumps({"planes": {"floor": {"through": ["a"], "normal": ["a", "top"]}},
                    "measures": {"turn": {"angle": ["b", "a", "c"], "in": "floor"}}}), encoding="utf-8")  # fmt: skip
    turn = measured(folder, Landmarks(NAMES, points, error_mm=ONE_MM))["turn"]
    assert turn.value == pytest.approx(179.93, abs=0.01)
    assert turn.sd < 1
    assert turn.low < turn.value < turn.high


def test_what_lacks_a_landmark_says_so(folder):
    points = POINTS.copy()
    points[3] = np.nan
    found = measured(folder, Landmarks(NAMES, points))
    assert np.isnan(found["height"].value)
    assert found["height"].missing == ("top",)
    assert found["share"].missing == ("top",)
    assert found["side"].value == 300
    assert text_of(found["height"]) == "lacks top"
    assert text_of(found["side"]) == "300.00 mm"


@pytest.mark.parametrize("withheld", [True, False])
def test_what_needs_a_point_that_is_not_trusted_has_no_value_unless_asked_for(folder, withheld):
    points = Landmarks(NAMES, POINTS, error_mm=ONE_MM, assessment=Assessment((), ("", "", "", "far off")))
    given = points.withheld() if withheld else points
    found = measured(folder, given, error_mm=1.0)
    assert np.isnan(found["height"].value)
    assert found["height"].untrusted == found["share"].untrusted == ("top",)
    assert text_of(found["height"]) == "not trusted: top"
    assert text_of(found["side"]).startswith("300.00")
    if withheld:
        return
    kept = measured(folder, points, error_mm=1.0, keep_untrusted=True)
    assert kept["height"].value == 120
    assert np.isnan(kept["height"].sd)
    assert text_of(kept["height"]) == "120.00 mm (not trusted)"
    assert kept["side"].untrusted == ()
    assert kept["side"].sd > 0


def test_what_a_table_says_of_points_that_are_not_trusted(folder):
    points = Landmarks(NAMES, POINTS, assessment=Assessment((), ("", "", "", "far off")))
    write_points(points, folder / "one.mrk.json")
    for keep, value in ((False, ""), (True, "120.0")):
        plan, side = folder / "plan.json", Side(folder / "one.mrk.json")
        measure_files(plan, [side], folder / f"out{keep}", keep_untrusted=keep)
        text = (folder / f"out{keep}" / "measures.csv").read_text(encoding="utf-8")
        rows = {row["measure"]: row for row in csv.DictReader(text.splitlines())}
        assert (rows["height"]["value"], rows["height"]["untrusted"]) == (value, "top")
        assert (rows["side"]["value"], rows["side"]["untrusted"]) == ("300.0", "")


def test_files_get_tables_and_pictures(folder):
    results, written = measure_files(
        folder / "plan.json", [Side(folder / "one.mrk.json"), Side(folder / "two.csv")], folder / "out"
    )
    assert [path.name for path in written] == ["measures.csv", "measures.json", "one.measures.png", "two.measures.png"]
    assert all(path.stat().st_size for path in written)
    rows = list(csv.DictReader((folder / "out" / "measures.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 10
    assert rows[0] | {"sd": "", "low_95": "", "high_95": ""} == {
        "points": str(folder / "one.mrk.json"), "measure": "side", "kind": "distance", "value": "300.0", "unit": "mm",
        "sd": "", "low_95": "", "high_95": "", "missing": "", "untrusted": "",
    }  # fmt: skip
    assert rows[7]["value"] == ""
    assert rows[7]["missing"] == "top"
    content = json.loads((folder / "out" / "measures.json").read_text(encoding="utf-8"))
    assert content["files"][1]["measures"][2]["value"] is None
    assert content["files"][0]["measures"][0]["sd"] == results[str(folder / "one.mrk.json")][0].sd
    with pytest.raises(InputError, match=r"measures\.csv: exists already"):
        measure_files(folder / "plan.json", [Side(folder / "one.mrk.json")], folder / "out")


@pytest.mark.parametrize(
    ("landmarks", "text"),
    [
        (
            Landmarks(("a", "b", "c", "tip"), POINTS),
            "measures 'top', which is not among the points; did you mean 'tip'",
        ),
        (Landmarks(("a", "b", "c", "top", "a"), [*POINTS, POINTS[1]]), "measures 'a', which stands 2 times; number"),
        (Landmarks(NAMES, POINTS, unit="px"), "measures 'side' in mm, but the points are in pixels, since their film"),
        (Landmarks(NAMES, POINTS * [1, 0, 1]), "the points of plane 'floor' lie on a line|lie in one place"),
        (Landmarks((*NAMES, "floor"), [*POINTS, POINTS[1]]), "makes 'floor', which is a landmark already"),
    ],
)
def test_points_that_do_not_fit_the_plan_are_refused(folder, landmarks, text):
    with pytest.raises(InputError, match=text):
        measured(folder, landmarks)


def test_angles_need_no_millimetres(folder):
    (folder / "plan.json").write_text(
        json.dumps({"measures": {"corner": {"angle": ["b", "a", "c"]}}}), encoding="utf-8"
    )
    assert measured(folder, Landmarks(NAMES, POINTS, unit="px"))["corner"].value == pytest.approx(90)


def test_files_that_cannot_be_told_apart_are_refused(folder):
    with pytest.raises(InputError, match="two files of points have one name"):
        measure_files(folder / "plan.json", [Side(folder / "one.mrk.json"), Side(folder / "x" / "one.mrk.json")])
