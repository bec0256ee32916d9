from __future__ import annotations

import json
import re

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io import read_points, write_points
from lmk3d.landmarks import Assessment, Landmarks

POINT = {"label": "a", "position": [1, 2, 3]}


def save(tmp_path, points=(POINT,), **fields):
    """A file of one point list with these control points; the list's fields as given."""
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": list(points)} | fields
    markup = {name: value for name, value in markup.items() if value is not None}
    return save_all(tmp_path, {"markups": [markup]})


def save_all(tmp_path, content):
    (tmp_path / "a.mrk.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "a.mrk.json"


def test_written_file_is_what_slicer_writes(tmp_path):
    landmarks = Landmarks(("a", "b"), [[-1, -2, 3], [np.nan] * 3], confidence=[0.75, 0.1], error_mm=[1.5, np.nan])
    write_points(landmarks, tmp_path / "a.mrk.json")
    content = json.loads((tmp_path / "a.mrk.json").read_text(encoding="utf-8"))
    # Slicer compares the schema with this expression, in small letters.
    assert re.search(r".*markups-schema-v1\.[0-9]+\.[0-9]+\.json#*$", content["@schema"].lower())
    (markup,) = content["markups"]
    assert markup["type"] == "Fiducial"
    assert markup["coordinateSystem"] == "LPS"
    assert markup["coordinateUnits"] == "mm"
    first, second = markup["controlPoints"]
    assert first["position"] == [1, 2, 3]
    assert first["positionStatus"] == "defined"
    assert first["description"] == "confidence=0.75; error_mm=1.5"
    assert first["orientation"] == [-1, 0, 0, 0, -1, 0, 0, 0, 1]
    assert len({point["id"] for point in markup["controlPoints"]}) == 2
    # Slicer fails over a position that is no triple of numbers, so a missing point has none.
    assert "position" not in second
    assert second["positionStatus"] == "undefined"


def test_points_that_are_not_trusted_are_a_list_of_their_own_in_a_warning_colour(tmp_path):
    places = [[1, 2, 3], [4, 5, 6], [np.nan] * 3]
    landmarks = Landmarks(("a", "b", "c"), places, [1, 0.5, 0], assessment=Assessment((), ("far off", "", "")))
    write_points(landmarks, tmp_path / "a.mrk.json")
    trusted, other = json.loads((tmp_path / "a.mrk.json").read_text(encoding="utf-8"))["markups"]
    assert [point["label"] for point in trusted["controlPoints"]] == ["b", "c"]
    assert "display" not in trusted
    assert other["name"] == "not trusted"
    assert other["display"]["color"] == other["display"]["selectedColor"] == [1.0, 0.6, 0.1]
    assert [point["description"] for point in other["controlPoints"]] == ["doubtful (far off); confidence=1.0"]
    assert trusted["assessment"] == other["assessment"] == {"verdict": "doubtful", "reasons": []}
    assert read_points(tmp_path / "a.mrk.json").names == ("b", "c", "a")
    # One list where all points of a kind; withheld ones are in it, without a place.
    write_points(landmarks.withheld(), tmp_path / "b.mrk.json")
    (only,) = json.loads((tmp_path / "b.mrk.json").read_text(encoding="utf-8"))["markups"]
    assert [point["positionStatus"] for point in only["controlPoints"]] == ["undefined", "defined", "undefined"]
    assert only["controlPoints"][0]["description"] == "doubtful (far off); confidence=1.0"


def test_a_list_that_slicer_has_saved_again_still_says_its_trust(tmp_path):
    landmarks = Landmarks(("a", "b"), [[1, 2, 3], [4, 5, 6]], assessment=Assessment(("no CT",), ("", "")))
    write_points(landmarks, tmp_path / "a.mrk.json")
    content = json.loads((tmp_path / "a.mrk.json").read_text(encoding="utf-8"))
    (markup,) = content["markups"]  # no point is trusted: the list of those that are is left out
    assert markup["display"]["color"] == [0.9, 0.1, 0.1]
    del markup["assessment"]
    assert read_points(save_all(tmp_path, content)).assessment == landmarks.assessment


@pytest.mark.parametrize(
    ("system", "expected"),
    [("LPS", [-1, -2, 3]), ("RAS", [1, 2, 3]), (None, [-1, -2, 3]), (0, [1, 2, 3]), ("1", [-1, -2, 3])],
)
def test_every_coordinate_system_is_understood(tmp_path, system, expected):
    assert read_points(save(tmp_path, coordinateSystem=system)).points_mm.tolist() == [expected]


@pytest.mark.parametrize(
    "point",
    [
        {"label": "a", "positionStatus": "undefined"},
        {"label": "a", "position": "", "positionStatus": "undefined"},
        {"label": "a", "position": [0, 0, 0], "positionStatus": "undefined"},
        {"label": "a", "position": [0, 0, 0], "positionStatus": "preview"},
        {"label": "a", "position": [0, 0, 0], "positionStatus": "missing"},
        {"label": "a"},
    ],
)
def test_points_without_a_defined_position_are_missing(tmp_path, point):
    assert read_points(save(tmp_path, [point])).present.tolist() == [False]


def test_a_preview_with_a_place_of_its_own_is_a_position(tmp_path):
    found = read_points(save(tmp_path, [POINT | {"positionStatus": "preview"}]))
    assert found.points_mm.tolist() == [[-1, -2, 3]]
    assert found.notes == ("points of the state preview are taken as placed; in Slicer, place them to make sure",)


def test_coordinates_left_over_from_an_earlier_place_are_noted(tmp_path):
    found = read_points(save(tmp_path, [POINT | {"positionStatus": "undefined"}]))
    assert not found.present.any()
    assert "coordinates of an earlier place" in found.notes[0]


def test_lists_of_one_file_are_joined_and_planes_left_out(tmp_path):
    lists = [{"type": kind, "controlPoints": [POINT | {"label": kind}]} for kind in ("Fiducial", "Plane", "Curve")]
    found = read_points(save_all(tmp_path, {"markups": lists}))
    assert found.names == ("Fiducial", "Curve")
    assert found.notes == (
        "holds a Curve, whose control points are read as points",
        "a Plane is left out: its control points are handles, no landmarks",
    )


def test_each_list_of_a_file_is_read_in_its_own_frame_and_unit(tmp_path):
    lists = [{"coordinateSystem": "RAS", "controlPoints": [POINT]}, {"coordinateUnits": "cm", "controlPoints": [POINT]}]
    assert read_points(save_all(tmp_path, {"markups": lists})).points_mm.tolist() == [[1, 2, 3], [-10, -20, 30]]


def test_points_without_a_label_are_named_by_their_ids(tmp_path):
    points = [{"id": "4", "position": [1, 2, 3]}, {"label": " ", "position": [1, 2, 3]}, {"label": "4"}, POINT, POINT]
    found = read_points(save(tmp_path, points))
    assert found.names == ("4'", "2", "4", "a", "a")
    assert found.notes == ("points without a label are named by their ids; name them in Slicer",)
    lists = [{"name": name, "controlPoints": [{"id": "1", "position": [1, 2, 3]}]} for name in ("left", None)]
    assert read_points(save_all(tmp_path, {"markups": lists})).names == ("left-1", "2-1")


def test_an_empty_list_is_noted(tmp_path):
    found = read_points(save(tmp_path, []))
    assert (len(found), found.notes) == (
        0,
        ("the file is an empty list of points; place the points and save it again",),
    )


def test_notes_stand_in_each_description_and_come_back(tmp_path):
    landmarks = Landmarks(("a", "b"), [[1, 2, 3]] * 2, confidence=[0.5, np.nan], notes=("phantoms alone",))
    write_points(landmarks, tmp_path / "a.mrk.json")
    points = json.loads((tmp_path / "a.mrk.json").read_text(encoding="utf-8"))["markups"][0]["controlPoints"]
    assert [point["description"] for point in points] == ["confidence=0.5; phantoms alone", "phantoms alone"]
    back = read_points(tmp_path / "a.mrk.json")
    assert back.notes == ("phantoms alone",)
    np.testing.assert_array_equal(back.confidence, [0.5, np.nan])


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("um", 1e-3), (["cm", "UCUM", "centimeter"], 10)])
def test_units_of_length_become_mm(tmp_path, unit, factor):
    found = read_points(save(tmp_path, coordinateUnits=unit)).points_mm
    np.testing.assert_allclose(found, [[-factor, -2 * factor, 3 * factor]])


def test_descriptions_by_others_do_no_harm(tmp_path):
    landmarks = read_points(save(tmp_path, [POINT | {"description": "confidence=high, seen twice"}]))
    assert landmarks.confidence is None


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([], "is no markups file of 3D Slicer"),
        ({"landmarks": []}, "is no markups file of 3D Slicer"),
        ({"markups": []}, "has no list of points"),
        (
            {"markups": [{"type": "ROI", "controlPoints": [POINT]}]},
            "holds a ROI, no list of points; place a point list",
        ),
        ({"markups": [3]}, "markup 1: is no object"),
        ({"markups": [{"controlPoints": 3}]}, "markup 1: controlPoints is no list"),
        ({"markups": [{"controlPoints": [3]}]}, "markup 1, control point 1: is no object"),
        (
            {"markups": [{"controlPoints": [POINT, {"label": 3}]}]},
            "markup 1, control point 2: the name of a point is 3",
        ),
        ({"markups": [{"controlPoints": [POINT | {"positionStatus": "set"}]}]}, "positionStatus 'set' is unknown"),
        ({"markups": [{"controlPoints": [POINT | {"position": {}}]}]}, "control point 1: the position of 'a' is {}"),
        (
            {"markups": [{"controlPoints": [{"label": "a", "position": [1, 2]}]}]},
            "control point 1: the position of 'a'",
        ),
        ({"markups": [{"controlPoints": [{"label": "a", "position": [1, 2, "x"]}]}]}, "a coordinate is 'x'"),
        ({"markups": [{"coordinateSystem": "IJK"}]}, r"points are voxel indices \(IJK\)"),
        ({"markups": [{"coordinateSystem": "XYZ"}]}, "frame 'XYZ' is unknown"),
        ({"markups": [{"coordinateUnits": "inch"}]}, "coordinateUnits 'inch' is unknown"),
        ({"markups": [{"unit": "px"}, {}]}, "mixes mm and px"),
    ],
)
def test_bad_files_are_named_with_their_point(tmp_path, content, match):
    with pytest.raises(InputError, match=rf"a\.mrk\.json(, |: ).*{match}"):
        read_points(save_all(tmp_path, content))


def test_frame_argument_must_agree_with_the_file(tmp_path):
    path = save(tmp_path)
    assert read_points(path, frame="LPS").points_mm.tolist() == [[-1, -2, 3]]
    with pytest.raises(InputError, match="says frame LPS, not RAS"):
        read_points(path, frame="RAS")
