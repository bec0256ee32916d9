from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmk3d.apps.cephalometry import POINTS
from lmk3d.apps.films import from_film
from lmk3d.apps.scoliosis import CORNERS, cobb_angles
from lmk3d.io import write_points
from lmk3d.landmarks import Landmarks

TOOL = Path(__file__).parents[2] / "tools" / "clinic.py"
# Right and down, in mm, in the order of POINTS.
FACE = [[0, 0], [70, 0], [60, 30], [0, 30], [60, 50], [50, 80], [50, 100], [45, 105], [48, 104], [5, 80], [62, 62]]
FACE += [[65, 58], [20, 45], [60, 48]]
BOX = np.array([[0, 0], [40, 0], [0, 20], [40, 20]])


@pytest.fixture(scope="module")
def tool():
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location("clinic", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop(spec.name)
    sys.path[:] = path


def write_table(path, names, cases):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "landmark", "column", "row", "slice"])
        for case, points in cases.items():
            writer.writerows([case, name, *point, 0] for name, point in zip(names, points.tolist(), strict=True))


def run(tool, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["clinic", *map(str, words)])
    tool.main()
    return capsys.readouterr().out


def test_raters_and_predictions_are_compared(tool, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "cephalogram_isbi2015"
    folder.mkdir()
    (folder / "splits.json").write_text(json.dumps({"test1": ["a", "b"]}), encoding="utf-8")
    face = np.array(FACE, float)
    other = face.copy()
    other[4] += [6, 0]  # A further in front: another class of ANB
    for table, second in (("landmarks", face), ("landmarks_senior", face), ("landmarks_junior", other)):
        write_table(folder / f"{table}.csv", POINTS.values(), {"a": 5 * face, "b": 5 * second})  # pixels of 0.2 mm
    (tmp_path / "found").mkdir()
    write_points(Landmarks(tuple(POINTS.values()), from_film(other)), tmp_path / "found" / "b.mrk.json")
    out = run(tool, ["ceph", "--data", tmp_path, "--predicted", tmp_path / "found"], monkeypatch, capsys)
    parts = out.split("\n\n")
    assert "senior against junior: 2 films" in parts[0]
    assert any(line.split()[:2] == ["ANB", "50.00"] for line in parts[0].splitlines())
    assert any(line.split()[:2] == ["ANB", "100.00"] for line in parts[1].splitlines())
    assert "mean against predicted: 1 films" in out


def test_given_angles_are_compared_and_wrong_corners_listed(tool, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "spine_aasce2019"
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    cases = {}
    for case in "abc":
        boxes = np.concatenate([BOX + np.array([100, 20 + 30 * number]) for number in range(17)])
        cases[case] = boxes + generator.uniform(-3, 3, boxes.shape)
        Image.fromarray(np.zeros((560, 240), np.uint8)).save(folder / "images" / f"{case}.jpg")
    cases["c"][-4:] = cases["c"][-4:][[1, 0, 3, 2]]
    write_table(folder / "landmarks.csv", CORNERS, cases)
    with (folder / "cobb_angles.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "angle1_deg", "angle2_deg", "angle3_deg"])
        for case, points in cases.items():
            writer.writerow([case, *cobb_angles(points.reshape(17, 4, 2), film_height=560).challenge_deg])
    out = run(tool, ["cobb", "--data", tmp_path], monkeypatch, capsys)
    assert "given corners: 3 films, SMAPE 0.000 %" in out
    assert "refused by lmk3d measure cobb: 1 of 3\n  c: V17: its left corners lie right" in out
