from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume, film_affine
from lmk3d.io import read_points, write_points
from lmk3d.io.tables import PointRows
from lmk3d.io.trust import Said
from lmk3d.landmarks import Landmarks


def csv_file(tmp_path, text, name="a.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def json_file(tmp_path, content):
    return csv_file(tmp_path, json.dumps(content), "a.json")


def test_table_is_what_a_person_expects(tmp_path):
    landmarks = Landmarks(("apex", "left, ostium"), [[1, 2.5, -3], [np.nan] * 3], confidence=[0.5, np.nan])
    write_points(landmarks, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == (
        'name,x,y,z,frame,confidence\napex,1.0,2.5,-3.0,RAS,0.5\n"left, ostium",,,,RAS,\n'
    )
    write_points(Landmarks(("apex",), [[1, 2, 3]], unit="px"), tmp_path / "a.tsv")
    assert (tmp_path / "a.tsv").read_text(encoding="utf-8") == (
        "name\tx\ty\tz\tframe\tunit\napex\t1.0\t2.0\t3.0\tRAS\tpx\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "name,x,y,z,frame\na,1,2,3,LPS\n",
        "label,x,y,z,frame\na,1,2,3,lps\n",
        "z,y,x,Landmark,Frame\n3,2,1,a,LPS",
        "name;x;y;z;frame\na;1;2;3;LPS\n",
        "name\tx\ty\tz\tframe\r\na\t1\t2\t3\tLPS\r\n\r\n",
        "\ufeffname, x, y, z, frame, comment\na,1,2,3,LPS,anything\n",
        "label,l,p,s,defined,selected,visible,locked,description\na,1,2,3,1,1,1,0,\n",
        "label,r,a,s,defined\na,-1,-2,3,1\n",
    ],
)
def test_tables_of_many_makers_are_read(tmp_path, text):
    landmarks = read_points(csv_file(tmp_path, text))
    assert landmarks.names == ("a",)
    assert landmarks.points_mm.tolist() == [[-1, -2, 3]]


def test_frame_argument_counts_where_the_table_says_none(tmp_path):
    path = csv_file(tmp_path, "name,x,y,z,frame\na,1,2,3,\nb,1,2,3,RAS\n")
    assert read_points(path).points_mm.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert read_points(path, frame="LPS").points_mm.tolist() == [[-1, -2, 3], [1, 2, 3]]


def test_a_table_that_does_not_say_its_frame_is_noted(tmp_path):
    said = "the table does not say its frame, RAS is assumed; add a column frame with RAS or LPS"
    assert read_points(csv_file(tmp_path, "name,x,y,z\na,1,2,3\nb,1,2,3\n")).notes == (said,)
    assert read_points(csv_file(tmp_path, "name,x,y,z\na,1,2,3\n"), frame="LPS").notes == ()
    assert read_points(csv_file(tmp_path, "name,r,a,s\na,1,2,3\n")).notes == ()
    assert "the file does not say its frame" in read_points(json_file(tmp_path, {"landmarks": []})).notes[0]


FILM = Volume(np.zeros((40, 30, 1)), Grid((40, 30, 1), film_affine((0.2, 0.1))))


def test_pixels_of_a_radiograph_lie_where_its_grid_has_them(tmp_path):
    path = csv_file(tmp_path, "name,column,row,confidence\na,10,20.5,0.5\nb,,,\n")
    found = read_points(path, image=lambda: FILM)
    # Rows are 0.2 mm apart and run along -A, columns 0.1 mm along -R.
    np.testing.assert_allclose(found.points_mm, [[-1.0, -4.1, 0.0], [np.nan] * 3])
    assert (found.unit, found.notes, found.confidence[0]) == ("mm", (), 0.5)
    assert read_points(path, image=lambda: replace(FILM, unit="px")).unit == "px"


@pytest.mark.parametrize(
    ("head", "image", "match"),
    [
        ("name,column,row", Volume(np.zeros((4, 3, 2)), Grid((4, 3, 2), np.eye(4))), "the image is a volume"),
        ("name,column,row,frame", FILM, "column,row with frame is unclear"),
    ],
)
def test_pixels_of_volumes_and_contradictions_are_refused(tmp_path, head, image, match):
    with pytest.raises(InputError, match=rf"a\.csv, line 1: .*{match}.*; write x,y,z in mm"):
        read_points(csv_file(tmp_path, f"{head}\n"), image=lambda: image)


@pytest.mark.parametrize(
    "name", ["=1+1", "+a", "-a", "@a", "\ta", "\ra", "'=a", "''=a", "'a", "a;=b", 'a"b', "a,b", "a\nb"]
)
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_names_that_a_spreadsheet_would_run_are_text_and_come_back(tmp_path, name, ending):
    path = tmp_path / f"a.{ending}"
    write_points(Landmarks((name,), [[-1, 2, 3]]), path)
    assert read_points(path).names == (name,)
    cell = path.read_text(encoding="utf-8").splitlines()[1]
    assert cell.lstrip('"')[0] not in "=+-@\t"
    assert "-1.0" in path.read_text(encoding="utf-8")  # numbers stay numbers


def test_json_keeps_notes(tmp_path):
    write_points(Landmarks(("a",), [[1, 2, 3]], notes=("phantoms alone",)), tmp_path / "a.json")
    assert read_points(tmp_path / "a.json").notes == ("phantoms alone",)
    with pytest.raises(InputError, match=r"a\.json: notes must be a list of texts"):
        read_points(json_file(tmp_path, {"landmarks": [], "notes": "x"}))


def test_a_hundred_thousand_points_are_read_within_seconds(tmp_path):
    entries = [{"name": str(row), "position": [row, 1.5, 2]} for row in range(100_000)]
    start = time.process_time()
    assert len(read_points(json_file(tmp_path, {"frame": "LPS", "landmarks": entries}))) == 100_000
    assert time.process_time() - start < 10


def test_points_that_slicer_calls_undefined_are_missing(tmp_path):
    landmarks = read_points(csv_file(tmp_path, "label,r,a,s,defined\na,0,0,0,0\nb,0,0,0,1\n"))
    assert landmarks.present.tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("case,landmark,x,y,z\n1,a,1,2,3\n", "line 1: a column `case` says the table holds several images"),
        ("landmark,column,row,slice\na,1,2,0\n", "line 1: pixel indices need their image; name both in a data set"),
        ("a,1,2,3\nb,1,2,3\n", "line 1: the header is 'a,1,2,3'; write name,x,y,z,frame"),
        ("x,y,z\n1,2,3\n", "line 1: the header is"),
        ("name,x,y,z,x\na,1,2,3,4\n", "line 1: the header has a column twice"),
        ("name,x,y,z\na,1,2\n", "line 2: has 3 cells where the header has 4"),
        ("name,x,y,z\na,1,2,3\nb,1,two,3\n", "line 3: y of 'b' is 'two'"),
        ("name,x,y,z\na,1,,3\n", r"line 2: the position of 'a' is \['1', '', '3'\]; write three numbers, or none"),
        ("name,x,y,z\na,1,inf,3\n", "line 2: y of 'a' is 'inf'"),
        ("name,x,y,z\n,1,2,3\n", "line 2: a point has no name"),
        ("name,x,y,z\na,1,-2e9,3\n", r"line 2: a number of 'a' is above 1e\+09; no image is that large"),
        ("name,x,y,z,frame\na,1,2,3,XYZ\n", "line 2: frame 'XYZ' is unknown"),
        ("name,r,a,s,frame\na,1,2,3,LPS\n", "line 2: frame LPS contradicts the columns r,a,s"),
        ("name,x,y,z,unit\na,1,2,3,cm\n", "line 2: unit 'cm' is unknown"),
        ("name,x,y,z,unit\na,1,2,3,mm\nb,1,2,3,px\n", "mixes mm and px"),
        ("name,x,y,z,confidence\na,1,2,3,95\n", "line 2: confidence of 'a' is 95; it lies between 0 and 1"),
        ("name,x,y,z,error_mm\na,1,2,3,-1\n", "line 2: error_mm of 'a' is -1"),
        ('name,x,y,z\n"a"b,1,2,3\n', "line 2: is no valid table"),
        ("", "is empty; write a header"),
    ],
)
def test_bad_tables_are_named_with_their_line(tmp_path, text, match):
    with pytest.raises(InputError, match=rf"a\.csv(, |: ){match}"):
        read_points(csv_file(tmp_path, text))


def test_json_is_what_a_person_expects(tmp_path):
    landmarks = Landmarks(("a", "b"), [[1, 2, 3], [np.nan] * 3], error_mm=[0.5, np.nan])
    write_points(landmarks, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "frame": "RAS",
        "unit": "mm",
        "landmarks": [
            {"name": "a", "position": [1, 2, 3], "error_mm": 0.5},
            {"name": "b", "position": None, "error_mm": None},
        ],
    }


def test_json_says_its_frame_or_the_argument_does(tmp_path):
    entries = [{"name": "a", "position": [1, 2, 3]}]
    path = json_file(tmp_path, {"landmarks": entries})
    assert read_points(path, frame="LPS").points_mm.tolist() == [[-1, -2, 3]]
    assert read_points(path).points_mm.tolist() == [[1, 2, 3]]
    path = json_file(tmp_path, {"frame": "LPS", "landmarks": entries})
    assert read_points(path, frame="RAS").points_mm.tolist() == [[-1, -2, 3]]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([], "is no file of points"),
        ({"landmarks": 3}, "is no file of points"),
        ({"markups": []}, "is a markups file of 3D Slicer; name it .mrk.json"),
        ({"landmarks": [], "farme": "RAS"}, "key 'farme' is unknown; did you mean 'frame'"),
        ({"landmarks": [], "frame": "x"}, "frame 'x' is unknown"),
        ({"landmarks": [], "unit": "cm"}, "unit 'cm' is unknown"),
        ({"landmarks": [3]}, "landmark 1: is 3"),
        ({"landmarks": [{"name": "a", "positon": [1, 2, 3]}]}, "landmark 1: key 'positon' is unknown; did you mean"),
        ({"landmarks": [{"position": [1, 2, 3]}]}, "landmark 1: a point has no name"),
        ({"landmarks": [{"name": "a", "position": [1, 2]}]}, r"landmark 1: the position of 'a' is \[1, 2\]"),
        ({"landmarks": [{"name": "a", "position": [1, 2, "x"]}]}, "landmark 1: z of 'a' is 'x'"),
    ],
)
def test_bad_json_is_named_with_its_entry(tmp_path, content, match):
    with pytest.raises(InputError, match=rf"a\.json(, |: ){match}"):
        read_points(json_file(tmp_path, content))


def test_rows_know_which_measures_they_have():
    rows = PointRows()
    rows.add("a", [1, 2, 3], "LPS", Said("", None), "line 1")
    assert rows.landmarks().confidence is None
    assert rows.landmarks(confidence=True).confidence.shape == (1,)
    assert rows.landmarks().points_mm.tolist() == [[-1, -2, 3]]


@pytest.mark.parametrize("word", ["0", "0.0", "false", "FALSE", "No", " f "])
def test_points_that_are_not_defined_are_missing_in_any_spelling(tmp_path, word):
    landmarks = read_points(csv_file(tmp_path, f"label,r,a,s,defined\na,1,2,3,{word}\nb,1,2,3,1\n"))
    assert landmarks.present.tolist() == [False, True]


@pytest.mark.parametrize("word", ["1", "1.0", "true", "Yes", ""])
def test_points_that_are_defined_are_placed_in_any_spelling(tmp_path, word):
    landmarks = read_points(csv_file(tmp_path, f"label,r,a,s,defined\na,1,2,3,{word}\n"))
    assert landmarks.points_mm.tolist() == [[1, 2, 3]]


def test_unknown_word_for_defined_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"line 2: defined is 'perhaps'; write 1 for a point with a position, else 0"):
        read_points(csv_file(tmp_path, "label,r,a,s,defined\na,1,2,3,perhaps\n"))
