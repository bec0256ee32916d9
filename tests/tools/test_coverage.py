"""The table of radii on cases that they were not learnt from, by hand."""

import json
import runpy
from pathlib import Path

import numpy as np

from lmk3d.conformal import Radii
from lmk3d.io import write_points
from lmk3d.landmarks import Landmarks
from lmk3d.metrics import compare

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "coverage.py"))


def test_each_fold_gets_the_scores_of_all_others():
    folds = [Radii(np.full((2, 1), float(number)), (f"{number}a", f"{number}b")) for number in range(3)]
    assert [own.patients for own in TOOL["others"](folds)] == [
        ("1a", "1b", "2a", "2b"),
        ("0a", "0b", "2a", "2b"),
        ("0a", "0b", "1a", "1b"),
    ]
    assert TOOL["others"](folds[:1]) == folds[:1]


def test_a_line_counts_points_within_their_radius():
    rows = []
    for case, error in (("x", 1.0), ("y", 3.0)):
        truth = Landmarks("ab", np.zeros((2, 3)))
        found = Landmarks("ab", [[error, 0, 0], [np.nan] * 3], None, [2.0, np.nan])
        rows += [(row, row.expected_mm / 4) for row in compare(truth, found, "ab", case=case)]
    assert TOOL["told"]("mine", rows, "ab", 0.9) == (
        "mine: 2 cases, 2 points, 2 missed; 50.0 % within the 90 % radius (landmarks 50 to 50 %), median radius 2; "
        "median expected error 0.5 (0.0 % within); mean error 2, median 2"
    )


def test_radii_round_a_mean_shape_hold_drawn_patients(tmp_path, capsys):
    random = np.random.default_rng(0)
    shape = 40 * random.normal(size=(4, 3))
    content = {"name": "drawn", "landmarks": list("abcd"), "training": [], "validation": []}
    for number in range(120):
        write_points(Landmarks("abcd", shape + random.normal(size=(4, 3))), tmp_path / f"{number}.csv")
        case = {"image": f"{number}.nii.gz", "points": f"{number}.csv"}
        content["training" if number < 20 else "validation"].append(case)
    (tmp_path / "one.json").write_text(json.dumps(content), encoding="utf-8")
    content["validation"] = content["validation"][::-1]
    (tmp_path / "two.json").write_text(json.dumps(content), encoding="utf-8")
    TOOL["main"](["--shape", str(tmp_path / "one.json"), str(tmp_path / "two.json")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["one (100 patients)", "two (100 patients)", "all"]
    # 100 known patients, tested on the same: exactly those of rank ceil(0.9 * 101) = 91 and below lie within.
    assert lines[2] == "all: 91.0 % of 800 points"
