from __future__ import annotations

import numpy as np
import pytest

from lmk3d.cli import main
from lmk3d.io import write_points
from lmk3d.io.transforms import read_transform
from lmk3d.landmarks import Landmarks

POINTS = np.array([[0.0, 0, 0], [40, 0, 0], [0, 50, 0], [0, 0, 60], [30, 30, 30], [-20, 10, 5]])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_points(Landmarks(tuple("abcdef"), POINTS), tmp_path / "m.mrk.json")
    moved = POINTS + np.array([1, 2, 3])
    moved[4] += 20
    write_points(Landmarks(tuple("abcdeg"), moved), tmp_path / "f.mrk.json")
    return tmp_path


def test_register_prints_pairs_and_matrix_and_writes_the_transform(folder, capsys):
    pytest.importorskip("SimpleITK")
    assert main(["register", "m.mrk.json", "f.mrk.json", "--robust", "--output", "out"]) == 0
    out = capsys.readouterr().out
    assert "rigid from 4 of 5 pairs: residual 0.000 mm, left out one by one 0.000 mm" in out
    assert "outlier" in out
    assert "without a partner in moving: f\nwithout a partner in fixed: g\n" in out
    assert "wrote out/transform.tfm" in out.replace("\\", "/")
    np.testing.assert_allclose(read_transform(folder / "out" / "transform.tfm").affine[:3, 3], [1, 2, 3], atol=1e-9)


def test_register_without_output_only_prints(folder, capsys):
    assert main(["register", "m.mrk.json", "f.mrk.json", "--kind", "tps"]) == 0
    assert "its affine part:" in capsys.readouterr().out
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["none.json", "f.mrk.json"], "none.json: no such file"),
        (["m.mrk.json", "f.mrk.json", "--kind", "elastic"], "invalid choice: 'elastic'"),
        (["m.mrk.json", "f.mrk.json", "--smooth", "1"], "only a spline is smoothed; add --kind tps"),
        (["m.mrk.json", "f.mrk.json", "--refine"], "refinement compares images; give both"),
        (["m.mrk.json", "f.mrk.json", "--weigh"], "the moving points have no expected error above 0"),
    ],
)
def test_register_names_what_is_wrong(words, line, folder, capsys):
    assert main(["register", *words]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1
