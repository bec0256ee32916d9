from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmk3d.apps.bone_age import train_bone_age
from lmk3d.apps.cephalometry import POINTS
from lmk3d.apps.films import from_film
from lmk3d.apps.scoliosis import CORNERS
from lmk3d.cli import main
from lmk3d.io import write_points
from lmk3d.landmarks import Assessment, Landmarks
from lmk3d.synthetic import hand_phantom

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
    assert main(["measure", "ceph", "face.mrk.json", "--output", "out"]) == 0
    out = capsys.readouterr().out
    assert "ANB      2.73" in out
    names = ["face.ceph.json", "face.ceph.csv", "face.ceph.png"]
    assert out.endswith(f"wrote {', '.join(str(Path('out') / name) for name in names)}\n")
    measures = json.loads((folder / "out" / names[0]).read_text(encoding="utf-8"))["measures"]
    assert [own["measure"] for own in measures] == ["ANB", "SNB", "SNA", "ODI", "APDI", "FHI", "FMA", "MW"]
    assert (folder / "out" / names[2]).read_bytes().startswith(b"\x89PNG")
    assert main(["measure", "ceph", "face.mrk.json", "--output", "out"]) == 2
    assert "face.ceph.json: exists already; choose another place, or --overwrite" in capsys.readouterr().err
    assert main(["measure", "ceph", "face.mrk.json", "--output", "out", "--overwrite"]) == 0


def test_ceph_takes_pixels_with_a_spacing_only(folder, capsys):
    assert main(["measure", "ceph", "face_px.mrk.json", "--spacing", "0.5", "--image", "film.png"]) == 0
    assert "MW       5.00" in capsys.readouterr().out
    assert main(["measure", "ceph", "face_px.mrk.json"]) == 2
    assert capsys.readouterr().err.startswith("lmk3d: error: face_px.mrk.json: the points are in px, but MW is a")


def test_cobb_writes_a_table(folder, capsys):
    assert main(["measure", "cobb", "spine.csv", "--image", "film.png", "--output", "."]) == 0
    lines = (folder / "spine.cobb.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["curve,angle_deg,upper,lower", "PT,0.0,1,1"]


def test_age_reads_a_hand_with_a_model(folder, capsys):
    hands = [hand_phantom(seed) for seed in range(6)]
    train_bone_age([hand.landmarks for hand in hands], [hand.age_months for hand in hands], folder / "run", epochs=1)
    write_points(hands[0].landmarks, "hand.csv")
    assert main(["measure", "age", "hand.csv", "--model", "run/bone_age.pt", "--output", "out"]) == 0
    assert capsys.readouterr().out.startswith("bone_age_months")
    assert (folder / "out" / "hand.age.png").is_file()
    assert main(["measure", "age", "face.mrk.json", "--model", "run/bone_age.pt"]) == 2
    assert "face.mrk.json: lacks" in capsys.readouterr().err
    assert main(["measure", "age", "hand.csv", "--model", "hand.csv"]) == 2
    assert "hand.csv: is no bone age model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["ceph", "spine.csv"], "spine.csv: lacks sella, nasion, orbitale, porion and 10 more (there is V01_top"),
        (["cobb", "face.mrk.json"], "face.mrk.json: lacks V01_top_left"),
        (["ceph", "face.mrk.json", "--image", "film.png"], "the film is in px, the points in mm; give --spacing MM"),
        (["ceph", "face.mrk.json", "--spacing", "0.5"], "is in mm already; leave --spacing out"),
        (["cobb", "spine.csv", "--output", "film.png"], "film.png: File exists"),
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


@pytest.mark.parametrize("withheld", [True, False])
def test_points_that_are_not_trusted_give_no_value_unless_asked_for(folder, capsys, withheld):
    face = np.array(FACE, float) + 20
    names = tuple(POINTS.values())
    doubts = tuple("the stages are 12 mm apart" if name == "nasion" else "" for name in names)
    points = Landmarks(names, from_film(face), assessment=Assessment((), doubts))
    write_points(points.withheld() if withheld else points, "doubtful.mrk.json")
    assert main(["measure", "ceph", "doubtful.mrk.json", "--output", "out"]) == 2
    out, err = capsys.readouterr()
    assert "ANB" not in out
    assert "doubtful.mrk.json: not trusted: nasion (the stages are 12 mm apart); place them by hand" in err
    code = main(["measure", "ceph", "doubtful.mrk.json", "--output", "out", "--keep-untrusted"])
    if withheld:
        assert code == 2
        assert "nasion is missing" in capsys.readouterr().err
    else:
        assert code == 0
        assert "NOT TRUSTED: made of points that are not trusted: nasion" in capsys.readouterr().out
        content = json.loads((folder / "out" / "doubtful.ceph.json").read_text(encoding="utf-8"))
        assert content["untrusted"] == ["nasion"]
