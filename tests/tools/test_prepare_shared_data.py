from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lmk3d.codecs import ShapeModel
from lmk3d.geometry import Grid, Volume, random_rotation
from lmk3d.io import check_dataset, read_dataset, write_image

TOOL = Path(__file__).parents[2] / "tools" / "prepare_shared_data.py"

# Three on the midline, two pairs, and one on the left alone.
HALF = np.array([[0, 0, 0], [0, 9, 1], [0, 4, 6], [3, 1, 2], [-3, 1, 2], [5, 7, 1], [-5, 7, 1], [4, 4, 8.0]])
NAMES = ["front", "back", "top", "ear l", "ear r", "jaw l", "jaw r", "scar"]


@pytest.fixture(scope="module")
def tool():
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location("prepare_shared_data", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop(spec.name)
    sys.path[:] = path


def poses(rng, count):
    """The shape in any pose and size, its points a little off."""
    shapes = []
    for _ in range(count):
        shape = HALF + rng.normal(0, 0.05, HALF.shape)
        shapes.append(rng.uniform(0.8, 1.2) * shape @ random_rotation(rng).T + rng.uniform(-50, 50, 3))
    return shapes


def test_partners_are_found_by_mirroring(tool):
    pairs, midline, distance = tool.mirror_pairs(ShapeModel.from_shapes(poses(np.random.default_rng(1), 12)).mean_mm)
    assert pairs == [(3, 4), (5, 6)]
    assert midline == [0, 1, 2]
    assert distance < 1


def write_set(folder, header, rows, splits, images):
    (folder / "images").mkdir(parents=True)
    for name, volume in images.items():
        write_image(volume, folder / "images" / name)
    with (folder / "landmarks.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")


def test_set_becomes_a_data_set_without_problems(tool, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(2)
    rows, images, names = [], {}, ["a", "b", "c", "d", "e"]
    for name, shape in zip(names, poses(rng, 5), strict=True):
        lps = shape * [-1, -1, 1]
        rows += [[name, landmark, *point] for landmark, point in zip(NAMES, lps.tolist(), strict=True)]
        grid = Grid.around(shape.mean(0), (40, 40, 40), 1.0)
        images[f"{name}.nii.gz"] = Volume(rng.integers(0, 9, grid.shape).astype(np.uint8), grid)
    images["d.nii.gz"] = images["b.nii.gz"]
    rows = [row for row in rows if row[0] != "d"] + [["d", *row[1:]] for row in rows if row[0] == "b"]
    folder = tmp_path / "data" / "mouse_skull_ct"
    splits = {"training": names[:4], "validation": names[4:]}
    write_set(folder, ["case", "landmark", "x", "y", "z"], rows, splits, images)
    (folder / "landmarks_second_rater.csv").write_text("case,landmark,x,y,z\na,front,1,2,3\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["tool", str(tmp_path / "out"), "--data", str(tmp_path / "data")])
    tool.main()
    assert "4 training, 1 validation; 8 landmarks, 2 pairs, mm" in capsys.readouterr().out
    path = tmp_path / "out" / "mouse_skull_ct" / "dataset.json"
    dataset = read_dataset(path)
    assert dataset.pairs == (("ear l", "ear r"), ("jaw l", "jaw r"))
    assert dataset.one_sided == ("scar",)
    assert [case.patient for case in dataset.cases("training")] == [None, "b", None, "b"]
    assert dataset.cases("training")[0].second_points is not None
    (second,) = check_dataset(path).problems  # the other rater's point is made up
    assert "1 of 1 point lies outside" in second
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def test_folder_without_any_set_is_refused(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tool", str(tmp_path / "out"), "--data", str(tmp_path)])
    with pytest.raises(SystemExit):
        tool.main()
    assert "has none of mouse_skull_ct" in capsys.readouterr().err


def test_corners_become_structures_in_order_round_them(tool):
    source = tool.Source("spines", "", corners=("_a", "_b", "_c"))
    names = ["V1_a", "V1_c", "V1_b", "V2_a", "V2_b", "V2_c", "tip"]
    assert tool.find_structures(source, names) == {"V1": ["V1_a", "V1_b", "V1_c"], "V2": ["V2_a", "V2_b", "V2_c"]}
    assert tool.find_structures(tool.Source("skulls", ""), names) == {}
