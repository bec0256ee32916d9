from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lmk3d.cli import main
from lmk3d.io import write_points
from lmk3d.landmarks import Assessment, Landmarks


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_points(Landmarks(("a", "b", "c"), [[0, 0, 0], [30, 0, 0], [np.nan] * 3]), tmp_path / "p.json")
    plan = {"measures": {"side": {"distance": ["a", "b"]}, "corner": {"angle": ["a", "b", "c"]}}}
    (tmp_path / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    return tmp_path


def test_measure_plan_prints_a_table_and_writes_files(folder, capsys):
    assert main(["measure", "plan", "plan.json", "p.json", "--error", "1", "--output", "out"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "p.json:"
    assert out[2].split()[:2] == ["side", "30.000"]
    assert out[2].endswith("mm")
    assert "lacks c" in out[3]
    assert {path.name for path in (folder / "out").iterdir()} == {"measures.csv", "measures.json", "p.measures.png"}


def test_measures_of_points_that_are_not_trusted_say_so(folder, capsys):
    points = Landmarks(("a", "b", "c"), [[0, 0, 0], [30, 0, 0], [0, 40, 0]])
    write_points(replace(points, assessment=Assessment((), ("", "", "far off"))), folder / "p.json")
    assert main(["measure", "plan", "plan.json", "p.json"]) == 0
    out = capsys.readouterr().out
    assert "30.000" in out
    assert "not trusted: c" in out
    assert "53.13" not in out
    assert main(["measure", "plan", "plan.json", "p.json", "--keep-untrusted"]) == 0
    out = capsys.readouterr().out
    assert "53.13" in out
    assert "deg, not trusted: c" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "the following arguments are required: WHAT; see lmk3d measure --help"),
        (["plna"], "invalid choice: 'plna'"),
        (["plan", "plan.json"], "the following arguments are required: POINTS"),
        (
            ["plan", "plan.json", "p.json", "q.json", "--image", "i.nii"],
            "i.nii: one image belongs to one file of points",
        ),
        (["plan", "p.json", "p.json"], "p.json: is no plan; write"),
        (["plan", "plan.json", "p.json", "--erorr", "1"], "unknown argument '--erorr'"),
        (["plan", "plan.json", "p.json", "--error", "-1"], "'-1' is no number above 0"),
    ],
)
def test_measure_names_what_is_wrong(words, line, folder, capsys):
    assert main(["measure", *words]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


def test_measure_help_lists_its_commands(capsys):
    assert main(["measure", "--help"]) == 0
    assert "plan" in capsys.readouterr().out


def test_the_group_lists_its_measures(capsys):
    assert main(["measure", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("plan", "ceph", "cobb", "age"))
