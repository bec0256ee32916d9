from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from lmk3d.apps.cephalometry import POINTS
from lmk3d.apps.films import from_film
from lmk3d.apps.scoliosis import CORNERS
from lmk3d.cli import main
from lmk3d.io import write_points
from lmk3d.landmarks import Landmarks

FACE = [[0, 0], [70, 0], [60, 30], [0, 30], [60, 50], [50, 80], [50, 100], [45, 105], [48, 104], [5, 80], [62, 62]]
FACE += [[65, 58], [20, 45], [60, 48]]
BOX = np.array([[0, 0], [40, 0], [0, 20], [40, 20]])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A face of 1 mm pixels in mm and in px of half a millimetre, a straight spine in px, and a film for them."""
    monkeypatch.chdir(tmp_path)
    face = np.array(FACE, float) + 20
    write_points(Landmarks(tuple(POINTS.values()), from_film(face)), "face.mrk.json")
    write_points(Landmarks(tuple(POINTS.values()), from_film(2 * face), unit="px"), "face_px.mrk.json")
    boxes = np.concatenate([BOX + np.array([100, 20 + 30 * number]) for number in range(17)])
    write_points(Landmarks(CORNERS, from_film(boxes), unit="px"), "spine.csv")
    noise = np.random.default_rng(0).integers(0, 255, (560, 240)).astype(np.uint8)
    Image.fromarray(noise).save("film.png")
    return tmp_path


def test_ceph_writes_result_and_picture(folder, capsys):
    assert main(["measure", "ceph", "face.mrk.json", "--output", "face.json", "--picture", "face.png"]) == 0
    out = capsys.readouterr().out
    assert "ANB      2.73" in out
    assert out.endswith("wrote face.json, face.png\n")
    measures = json.loads((folder / "face.json").read_text(encoding="utf-8"))["measures"]
    assert [own["measure"] for own in measures] == ["ANB", "SNB", "SNA", "ODI", "APDI", "FHI", "FMA", "MW"]
    assert (folder / "face.png").read_bytes().startswith(b"\x89PNG")


def test_ceph_takes_pixels_with_a_spacing_only(folder, capsys):
    assert main(["measure", "ceph", "face_px.mrk.json", "--spacing", "0.5", "--film", "film.png"]) == 0
    assert "MW       5.00" in capsys.readouterr().out
    assert main(["measure", "ceph", "face_px.mrk.json"]) == 2
    assert capsys.readouterr().err.startswith("lmk3d: error: face_px.mrk.json: the points are in px, but MW is a")


def test_cobb_writes_a_table(folder, capsys):
    assert main(["measure", "cobb", "spine.csv", "--film", "film.png", "--output", "cobb.csv"]) == 0
    assert (folder / "cobb.csv").read_text(encoding="utf-8").splitlines()[:2] == [
        "curve,angle_deg,upper,lower",
        "PT,0.0,1,1",
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["ceph", "spine.csv"], "spine.csv: lacks sella, nasion, orbitale, porion and 10 more (there is V01_top"),
        (["cobb", "face.mrk.json"], "face.mrk.json: lacks V01_top_left"),
        (["ceph", "face.mrk.json", "--film", "film.png"], "the film is in px, the points in mm; give --spacing MM"),
        (["ceph", "face.mrk.json", "--spacing", "0.5"], "is in mm already; leave --spacing out"),
        (["cobb", "spine.csv", "--output", "a.xls"], "a.xls: results are written as .json or .csv"),
        (["cobb", "spine.csv", "--picture", "a.jpg"], "a.jpg: the picture is written as PNG"),
        (["cobb", "spine.csv", "--output", "none/a.csv"], "none/a.csv: cannot be written"),
        (["cobb", "spine.csv", "--output", "spine.csv"], "spine.csv: exists already; choose another name, or --overw"),
        (["cobb", "nowhere.csv"], "nowhere.csv: no such file"),
    ],
)
def test_wrong_input_ends_in_one_line_and_writes_nothing(words, line, folder, capsys):
    before = sorted(folder.rglob("*"))
    assert main(["measure", *words]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
