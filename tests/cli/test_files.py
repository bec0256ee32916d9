from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.cli import main
from lmk3d.io import read_points, write_image, write_points
from lmk3d.landmarks import Assessment, Landmarks


@pytest.fixture
def points(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    landmarks = Landmarks(("apex", "ostium"), [[1.5, -2, 3], [np.nan] * 3])
    write_points(landmarks, tmp_path / "points.fcsv")
    return landmarks


def test_convert_keeps_the_points(points, capsys):
    assert main(["convert", "points.fcsv", "points.mrk.json"]) == 0
    assert capsys.readouterr().out == "wrote points.mrk.json: 2 points, 1 of them missing\n"
    assert_allclose(read_points("points.mrk.json").ordered(points.names).points_mm, points.points_mm)


def test_convert_refuses_to_overwrite(points, capsys):
    assert main(["convert", "points.fcsv", "points.fcsv"]) == 2
    error = "points.fcsv: exists already; choose another place, or --overwrite to replace it"
    assert capsys.readouterr().err == f"lmk3d: error: {error}\n"
    assert main(["convert", "points.fcsv", "points.fcsv", "--overwrite"]) == 0


def test_convert_reads_a_table_in_the_frame_it_is_told(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("name,x,y,z\napex,1,2,3\n", encoding="utf-8")
    assert main(["convert", str(tmp_path / "a.csv"), str(tmp_path / "b.json"), "--frame", "lps"]) == 0
    assert_allclose(read_points(tmp_path / "b.json")["apex"], [[-1, -2, 3]])


def test_convert_notes_what_is_doubtful(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("name,x,y,z\napex,1,2,3\n", encoding="utf-8")
    assert main(["convert", str(tmp_path / "a.csv"), str(tmp_path / "b.json")]) == 0
    note, wrote = capsys.readouterr().out.splitlines()
    assert note == "note: the table does not say its frame, RAS is assumed; add a column frame with RAS or LPS"
    assert wrote.endswith("b.json: 1 point")


def test_convert_keeps_what_is_not_trusted_marked_and_counts_it(tmp_path, capsys):
    points = Landmarks(("a", "b"), [[1, 2, 3], [4, 5, 6]], assessment=Assessment((), ("", "far off")))
    write_points(points, tmp_path / "a.mrk.json")
    assert main(["convert", str(tmp_path / "a.mrk.json"), str(tmp_path / "b.csv")]) == 0
    assert capsys.readouterr().out.endswith("b.csv: 2 points, 1 not trusted\n")
    found = read_points(tmp_path / "b.csv")
    assert found.assessment == points.assessment
    assert found.present.all()


def test_convert_reads_pixels_with_their_image(tmp_path, capsys, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save("film.png")
    (tmp_path / "a.csv").write_text("name,column,row\nsella,12,3.5\n", encoding="utf-8")
    assert main(["convert", "a.csv", "b.json", "--image", "film.png"]) == 0
    found = read_points("b.json")
    assert found.unit == "px"
    assert found.points_mm.tolist() == [[-12, -3.5, 0]]
    assert main(["convert", "a.csv", "c.json"]) == 2
    assert "pixel indices need their image; name both in a data set, give --image" in capsys.readouterr().err


def test_names_and_paths_cannot_command_the_terminal(tmp_path, capsys, bright_volume, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(bright_volume, "s\x1b[31m\n.nii")
    write_points(Landmarks(("a\x1b[2J", "=b"), [[-8, 24, 36], [-6, 22, 32]]), "p\x1b]0;x\x07.json")
    names = ["a\x1b[2J", "=b", "c\x9b"]
    content = {
        "name": "n\x1b[m",
        "landmarks": names,
        "training": [{"image": "s\x1b[31m\n.nii", "points": "p\x1b]0;x\x07.json"}],
    }
    (tmp_path / "d.json").write_text(json.dumps(content), encoding="utf-8")
    assert main(["check", "d.json"]) == 2
    assert main(["convert", "p\x1b]0;x\x07.json", "q\x1b.csv"]) == 0
    assert main(["convert", "none\x1b[0m.json", "q.csv"]) == 2
    assert main(["convert", "--fr\x1bame", "q.csv"]) == 2
    out, err = capsys.readouterr()
    assert not {*"\x1b\x9b\x07"} & {*out, *err}
    assert "training has no point of c\\x9b" in out
    assert r"wrote q\x1b.csv: 2 points" in out
    assert r"none\x1b[0m.json: no such file" in err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["a\0b.csv", "b.csv"], "an argument has a NUL character"),
        (["nowhere.csv", "b.csv"], "nowhere.csv: no such file"),
        (["points.fcsv", "b.xyz"], "b.xyz: is no file of points"),
        (["points.fcsv", "none/b.csv"], "none"),
        (["points.fcsv", "b.csv", "--frame", "scanner"], "invalid choice: 'SCANNER'"),
    ],
)
def test_convert_names_what_is_wrong(words, line, points, capsys, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert main(["convert", *words]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def dataset(tmp_path, bright_volume, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = []
    for name in ("first", "second"):
        write_image(bright_volume, tmp_path / f"{name}.nii.gz")
        write_points(Landmarks(("apex", "tip"), [[-8, 24, 36], [-6, 22, 32]]), tmp_path / f"{name}.json")
        cases.append({"image": f"{name}.nii.gz", "points": f"{name}.json"})
    content = {"name": "tiny", "landmarks": ["apex", "tip"], "training": cases[:1], "validation": cases[1:]}
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return content


def test_check_shows_the_fingerprint_of_a_sound_data_set(dataset, tmp_path, capsys):
    assert main(["check", "dataset.json", "--json", "facts.json"]) == 0
    out = capsys.readouterr().out
    assert "tiny" in out
    assert "6 x 5 x 4" in out
    assert "\nnote        validation, case second: the same image as training, case first; " in out
    assert out.endswith("no problems\n")
    written = json.loads((tmp_path / "facts.json").read_text(encoding="utf-8"))
    assert written["fingerprint"]["cases"] == {"training": 1, "validation": 1}
    assert len(written["notes"]) == 2  # the other one on so few training cases


def test_check_lists_every_problem_and_ends_with_2(dataset, tmp_path, capsys):
    (tmp_path / "first.nii.gz").write_text("no image", encoding="utf-8")
    (tmp_path / "second.json").unlink()
    assert main(["check", "dataset.json"]) == 2
    out, err = capsys.readouterr()
    assert "problem     training, case first: " in out
    assert "problem     validation, case second: " in out
    assert err.startswith("lmk3d: error: dataset.json: ")
    assert err.endswith("problems, listed above; correct them and check again\n")


def test_check_does_not_replace_the_data_set_by_its_own_report(dataset, capsys):
    assert main(["check", "dataset.json", "--json", "dataset.json"]) == 2
    assert "dataset.json: exists already; choose another place" in capsys.readouterr().err


def test_split_writes_folds_that_are_data_sets(dataset, tmp_path, capsys):
    assert main(["split", "dataset.json", "--folds", "2", "--output", "folds"]) == 0
    one, two = (tmp_path / "folds" / f"fold{number}.json" for number in (1, 2))
    assert capsys.readouterr().out.splitlines() == [f"wrote {path.relative_to(tmp_path)}" for path in (one, two)]
    assert main(["check", str(two)]) == 0
    assert main(["split", "dataset.json", "--output", "folds"]) == 2
    assert "has 2 patients with points, not enough for 5 folds; choose from 2 to 2" in capsys.readouterr().err


def test_convert_makes_a_dicom_report_and_reads_it(tmp_path, write_series, capsys):
    pytest.importorskip("highdicom")
    write_series(tmp_path / "ct")
    landmarks = Landmarks(("apex", "gone"), [[1.5, -2, 3], [np.nan] * 3], confidence=[0.9, 0.1])
    write_points(landmarks, tmp_path / "a.mrk.json")
    words = ["convert", str(tmp_path / "a.mrk.json"), str(tmp_path / "a.dcm")]
    assert main(words) == 2
    assert "a DICOM report refers to its images; say which the points lie in (--image)" in capsys.readouterr().err
    assert main([*words, "--image", str(tmp_path / "ct")]) == 0
    assert main(["convert", str(tmp_path / "a.dcm"), str(tmp_path / "b.mrk.json")]) == 0
    found = read_points(tmp_path / "b.mrk.json")
    assert found.names == landmarks.names
    np.testing.assert_allclose(found.points_mm, landmarks.points_mm, atol=1e-3)
    np.testing.assert_allclose(found.confidence, landmarks.confidence, atol=1e-6)
