from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from lmk3d.cli import main
from lmk3d.io import read_image, read_points
from lmk3d.landmarks import Landmarks


@pytest.fixture
def phantoms(tmp_path, monkeypatch, fake_bundle, bright_volume):
    """Seeds that phantoms were drawn from; each has its brightest voxel 3 mm (R) and 4 mm (A) off the "truth"."""
    seeds = []

    def cta_phantom(seed, *, spacing_mm):
        seeds.append(seed)
        truth = Landmarks(("beside", "brightest", "unasked"), [[-7, 24, 36], [-5, 28, 36], [0, 0, 0]])
        return SimpleNamespace(volume=bright_volume, landmarks=truth)

    room = ModuleType("lmk3d.synthetic")
    room.cta_phantom = cta_phantom
    monkeypatch.setitem(sys.modules, "lmk3d.synthetic", room)

    def save_preview(_volume, _landmarks, path, *, title):
        path.write_bytes(title.encode())
        return [path]

    monkeypatch.setattr("lmk3d.plots.save_preview", save_preview)
    monkeypatch.chdir(tmp_path)
    return seeds


def test_demo_shows_true_errors_and_leaves_everything_in_its_folder(phantoms, tmp_path, capsys):
    assert main(["demo", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    brightest, beside = (line for line in out.splitlines() if line.startswith(("brightest", "beside")))
    assert brightest.split()[-1] == "5.00"  # 3, 4, 5
    assert beside.split()[-1] == "0.00"
    assert "mean error 2.50 mm, largest 5.00 mm" in out
    names = ["phantom.manifest.json", "phantom.mrk.json", "phantom.nii.gz", "phantom.preview.png", "truth.mrk.json"]
    assert sorted(path.name for path in (tmp_path / "lmk3d_demo").iterdir()) == names
    assert read_image(tmp_path / "lmk3d_demo" / "phantom.nii.gz").data.shape == (6, 5, 4)
    assert np.allclose(read_points(tmp_path / "lmk3d_demo" / "truth.mrk.json")["brightest"], [[-5, 28, 36]])


def test_demo_runs_twice_in_one_folder(phantoms, tmp_path):
    words = ["demo", "--device", "cpu", "--output", str(tmp_path / "here"), "--seed", "7"]
    assert main(words) == 0
    assert main(words) == 0
    assert phantoms == [7, 7]


def test_demo_says_what_is_wrong_with_a_bundle_before_drawing(phantoms, capsys):
    assert main(["demo", "--bundle", "cascad"]) == 2
    assert capsys.readouterr().err == "lmk3d: error: no bundle 'cascad' (shipped: cascade)\n"
    assert phantoms == []


def test_demo_refuses_what_is_no_seed(phantoms, capsys):
    assert main(["demo", "--seed=-1"]) == 2
    assert "argument --seed: '-1' is no seed; give a whole number from 0 on" in capsys.readouterr().err


def test_demo_that_cannot_write_says_so(phantoms, tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["demo", "--device", "cpu", "--output", str(tmp_path / "file" / "demo")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("lmk3d: error: ")
    assert err.count("\n") == 1


def test_demo_fails_when_the_detector_cannot_use_the_phantom(phantoms, monkeypatch, capsys):
    detector = sys.modules["lmk3d.inference"].LandmarkDetector

    def fail(_self, _volume):
        raise MemoryError("8 GiB")

    monkeypatch.setattr(detector, "detect", fail)
    assert main(["demo", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.startswith("lmk3d: error: not enough memory (8 GiB)")
