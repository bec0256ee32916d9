from __future__ import annotations

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io import read_points, write_points
from lmk3d.landmarks import Landmarks

COLUMNS = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
LINE = "vtkMRMLMarkupsFiducialNode_0,1,2,3,0,0,0,1,1,1,0,a,by hand,vtkMRMLScalarVolumeNode1\n"


def save(tmp_path, *lines):
    (tmp_path / "a.fcsv").write_text("".join(lines), encoding="utf-8")
    return tmp_path / "a.fcsv"


@pytest.mark.parametrize(
    ("system", "expected"),
    [("LPS", [-1, -2, 3]), ("RAS", [1, 2, 3]), ("0", [1, 2, 3]), ("1", [-1, -2, 3])],
)
def test_every_coordinate_system_is_understood(tmp_path, system, expected):
    head = f"# Markups fiducial file version = 4.6\n# CoordinateSystem = {system}\n"
    landmarks = read_points(save(tmp_path, head, COLUMNS, LINE))
    assert landmarks.names == ("a",)
    assert landmarks.points_mm.tolist() == [expected]


def test_voxel_indices_are_refused_with_their_line(tmp_path):
    head = "# Markups fiducial file version = 4.6\n# CoordinateSystem = 2\n"
    with pytest.raises(InputError, match=r"a\.fcsv, line 2: points are voxel indices \(IJK\).*save them in RAS or LPS"):
        read_points(save(tmp_path, head, COLUMNS, LINE))


def test_file_of_slicer_3_has_the_label_first_in_ras(tmp_path):
    assert read_points(save(tmp_path, "a,1,2,3,1,1\n")).points_mm.tolist() == [[1, 2, 3]]
    named = "# name = list\n# columns = label,x,y,z,sel,vis\n", "a,1,2,3,1,1\n"
    assert read_points(save(tmp_path, *named)).names == ("a",)
    assert read_points(save(tmp_path, *named), frame="LPS").points_mm.tolist() == [[-1, -2, 3]]


def test_more_cells_quotes_and_windows_line_ends_are_read(tmp_path):
    head = "# Markups fiducial file version = 5.2\r\n# CoordinateSystem = LPS\r\n" + COLUMNS
    landmarks = read_points(save(tmp_path, head, '1,1,2,3,0,0,0,1,1,1,0,"left, ""4th""",,,2,0\r\n', "\r\n"))
    assert landmarks.names == ('left, "4th"',)


def test_written_file_is_what_slicer_reads(tmp_path):
    landmarks = Landmarks(("a", "b"), [[-1, -2, 3], [np.nan] * 3], confidence=[0.5, 0.25], unit="px")
    write_points(landmarks, tmp_path / "a.fcsv")
    assert (tmp_path / "a.fcsv").read_text(encoding="utf-8") == (
        "# Markups fiducial file version = 5.2\n# CoordinateSystem = LPS\n" + COLUMNS + "# unit = px\n"
        # The last two cells are Slicer's own: the position is defined, and the point was not made by itself.
        "1,1.0,2.0,3.0,0,0,0,1,1,1,0,a,confidence=0.5,,2,0\n"
        # Slicer skips this line; before 5.2 it would show the point at the origin.
        "# missing = 2,,,,0,0,0,1,1,1,0,b,confidence=0.25,,3,0\n"
    )
    back = read_points(tmp_path / "a.fcsv")
    assert (back.names, back.unit, back.notes) == (("a", "b"), "px", ())
    np.testing.assert_array_equal(back.points_mm, landmarks.points_mm)


@pytest.mark.parametrize(
    ("cells", "expected", "note"),
    [
        ("2,0", [-1, -2, 3], ""),
        ("1,0", [-1, -2, 3], "state preview are taken as placed"),
        ("0,0", None, "coordinates of an earlier place"),
        ("3,1", None, "coordinates of an earlier place"),
        ("2", [-1, -2, 3], ""),
    ],
)
def test_the_cells_behind_the_columns_say_whether_a_point_is_placed(tmp_path, cells, expected, note):
    head = "# Markups fiducial file version = 5.4\n# CoordinateSystem = LPS\n"
    found = read_points(save(tmp_path, head, COLUMNS, f"1,1,2,3,0,0,0,1,1,1,0,a,,,{cells}\n"))
    np.testing.assert_array_equal(found.points_mm, [expected or [np.nan] * 3])
    assert (note in found.notes[0]) if note else not found.notes


def test_a_preview_at_the_origin_is_not_placed(tmp_path):
    head = "# Markups fiducial file version = 5.4\n# CoordinateSystem = LPS\n"
    found = read_points(save(tmp_path, head, COLUMNS, "1,0,0,-0.0,0,0,0,1,1,1,0,a,,,1,0\n"))
    assert (found.present.tolist(), found.notes) == ([False], ())


def test_points_without_a_label_are_named_by_their_ids(tmp_path):
    head = "# Markups fiducial file version = 5.4\n# CoordinateSystem = RAS\n"
    lines = [f"{own},1,2,3,0,0,0,1,1,1,0,{label},,,2,0\n" for own, label in (("7", ""), ("", ""), ("9", "7"))]
    found = read_points(save(tmp_path, head, COLUMNS, *lines))
    assert found.names == ("7'", "2", "7")
    assert "named by their ids" in found.notes[0]


def test_a_file_that_does_not_say_its_frame_is_noted(tmp_path):
    found = read_points(save(tmp_path, "# Markups fiducial file version = 4.6\n", LINE))
    assert found.points_mm.tolist() == [[1, 2, 3]]
    assert found.notes == ("the file does not say its CoordinateSystem, RAS is assumed",)


def test_notes_come_back(tmp_path):
    write_points(Landmarks(("a",), [[1, 2, 3]], notes=("from\nphantoms",)), tmp_path / "a.fcsv")
    assert read_points(tmp_path / "a.fcsv").notes == ("from phantoms",)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("1,1,2\n", "line 3: has 3 of 14 cells"),
        ("1,1,two,3,0,0,0,1,1,1,0,a,,\n", "line 3: y of 'a' is 'two'"),
        ("1,1,2,3,0,0,0,1,1,1,0,a,b,c,d\n", "line 3: has more cells than columns; put texts that hold a comma"),
        ("1,1,2,3,0,0,0,1,1,1,0,a,b,c,2,0,0\n", "line 3: has more cells than columns"),
        ("1,1,2,3,0,0,0,1,1,1,0,a,b,c,4,0\n", "line 3: has more cells than columns"),
        ('1,1,2,3,0,0,0,1,1,1,0,"a,,,2,0\n', "line 3: is no valid line"),
        ("1,1,,3,0,0,0,1,1,1,0,a,,\n", "line 3: the position of 'a'"),
        ("1,1,2,3,0,0,0,1,1,1,0," + "a" * 200_000 + ",,\n", "line 3: is no valid line"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, match):
    with pytest.raises(InputError, match=rf"a\.fcsv, {match}"):
        read_points(save(tmp_path, "# Markups fiducial file version = 4.6\n# CoordinateSystem = 0\n", line))


def test_unknown_columns_and_frames_are_refused(tmp_path):
    with pytest.raises(InputError, match="the columns 'id,x,y' lack label, x, y or z"):
        read_points(save(tmp_path, "# columns = id,x,y\n", LINE))
    with pytest.raises(InputError, match="or have one twice"):
        read_points(save(tmp_path, "# columns = label,x,y,z,x\n", LINE))
    with pytest.raises(InputError, match="line 1: frame 'scanner' is unknown"):
        read_points(save(tmp_path, "# CoordinateSystem = scanner\n", LINE))


def test_real_file_is_read(real_files):
    landmarks = read_points(real_files / "MNI152NLin2009cAsym_afids.fcsv")
    assert len(landmarks) == 32
    np.testing.assert_allclose(landmarks.points_mm[0], [-0.231, 2.93275, -4.899], atol=1e-9)  # the header says RAS


def test_lines_that_end_as_on_old_macs_are_read(tmp_path):
    text = "# Markups fiducial file version = 4.6\n# CoordinateSystem = LPS\n" + COLUMNS + LINE
    (tmp_path / "a.fcsv").write_bytes(text.replace("\n", "\r").encode())
    landmarks = read_points(tmp_path / "a.fcsv")
    assert (landmarks.names, landmarks.points_mm.tolist()) == (("a",), [[-1, -2, 3]])
