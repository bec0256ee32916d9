from __future__ import annotations

import json
import re

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io import read_points, write_points
from lmk3d.io.markups import describe, parse_description, parse_slicer_frame
from lmk3d.landmarks import Landmarks

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


def test_lists_of_one_file_are_joined_and_planes_left_out(tmp_path):
    lists = [{"type": kind, "controlPoints": [POINT | {"label": kind}]} for kind in ("Fiducial", "Plane", "Curve")]
    assert read_points(save_all(tmp_path, {"markups": lists})).names == ("Fiducial", "Curve")


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
        ({"markups": [{"type": "ROI", "controlPoints": [POINT]}]}, "has no list of points"),
        ({"markups": [3]}, "markup 1: is no object"),
        ({"markups": [{"controlPoints": 3}]}, "markup 1: controlPoints is no list"),
        ({"markups": [{"controlPoints": [3]}]}, "markup 1, control point 1: is no object"),
        ({"markups": [{"controlPoints": [POINT, {"label": ""}]}]}, "markup 1, control point 2: a point has no name"),
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


def test_description_carries_both_measures_exactly():
    landmarks = Landmarks(("a", "b"), [[1, 2, 3]] * 2, confidence=[1 / 3, np.nan], error_mm=[2e-7, np.nan], unit="px")
    assert describe(landmarks, 0) == "confidence=0.3333333333333333; error_px=2e-07"
    assert parse_description(describe(landmarks, 0)) == ("0.3333333333333333", "2e-07")
    assert describe(landmarks, 1) == ""
    assert parse_description("by hand") == (None, None)


def test_numbers_of_old_slicers_are_frames():
    assert [parse_slicer_frame(value, "a") for value in ("0", 1, "ras", "LPS")] == ["RAS", "LPS", "RAS", "LPS"]
    with pytest.raises(InputError, match="a, line 2: points are voxel indices"):
        parse_slicer_frame("2", "a, line 2")
