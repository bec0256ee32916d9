from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from lmk3d.cli import main
from lmk3d.geometry import Grid, Volume
from lmk3d.io import read_points, write_image


@pytest.fixture
def scan(tmp_path, bright_volume, fake_bundle, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(bright_volume, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_predict_writes_markups_into_the_current_folder_and_a_table(scan, capsys, tmp_path):
    assert main(["predict", "scan.nii.gz", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "scan.nii.gz: 6 x 5 x 4 voxels of 2 x 2 x 2 mm; 2 of 3 landmarks, world RAS in mm" in out
    assert "brightest    -8.00  24.00  36.00        0.90          0.5" in out
    assert "absent     missing      -      -        0.10            -" in out
    assert "wrote scan.mrk.json, scan.manifest.json" in out
    assert len(read_points(tmp_path / "scan.mrk.json")["brightest"]) == 1


def test_predict_again_refuses_to_overwrite_and_says_how(scan, capsys):
    assert main(["predict", "scan.nii.gz", "--device", "cpu"]) == 0
    capsys.readouterr()
    assert main(["predict", "scan.nii.gz", "--device", "cpu"]) == 2
    message = (
        "scan.mrk.json: exists already (as do 1 more outputs); give another --output, or --overwrite to replace it"
    )
    assert capsys.readouterr().err == f"lmk3d: error: {message}\n"
    assert main(["predict", "scan.nii.gz", "--device", "cpu", "--overwrite"]) == 0


def test_a_batch_goes_on_after_a_bad_scan_and_ends_with_2(scan, capsys, tmp_path):
    (tmp_path / "broken.nii.gz").write_text("no image", encoding="utf-8")
    assert main(["predict", ".", "--device", "cpu", "--output", "out", "--format", "csv,fcsv"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("lmk3d: error: broken.nii.gz: ")
    assert err.count("\n") == 1
    assert "1 of 2 scans done, 1 could not be used" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scan.csv", "scan.fcsv", "scan.manifest.json"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ValueError("every side must be\na multiple of 16"),
            "scan.nii.gz: ValueError: every side must be a multiple of 16",
        ),
        (MemoryError("9 GiB"), "scan.nii.gz: not enough memory (9 GiB); close other programs"),
    ],
)
def test_what_a_scan_does_to_a_network_is_said_with_its_name(error, line, scan, capsys, monkeypatch):
    def fail(_self, _volume):
        raise error

    monkeypatch.setattr(sys.modules["lmk3d.inference"].LandmarkDetector, "detect", fail)
    assert main(["predict", "scan.nii.gz", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.startswith(f"lmk3d: error: {line}")


def test_debug_shows_why_a_scan_of_a_batch_is_bad(scan, capsys, tmp_path):
    (tmp_path / "broken.nii.gz").write_text("no image", encoding="utf-8")
    assert main(["predict", "broken.nii.gz", "--device", "cpu", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere.nii.gz"], "nowhere.nii.gz: "),
        (["scan.nii.gz", "--bundle", "cascad"], "no bundle 'cascad'"),
        (["scan.nii.gz", "--bundle", "bundles/faek"], "did you mean 'fake'?"),
        (["scan.nii.gz", "--device", "gpu"], "unknown device 'gpu'"),
        (["scan.nii.gz", "--format", "mrk"], "unknown format 'mrk', did you mean 'mrk.json'?"),
        (["scan.nii.gz", "--spacing", "0"], "'0' is no number above 0"),
        (["scan.nii.gz", "--output", "scan.nii.gz/out"], "out: cannot be written to ("),
    ],
)
def test_wrong_input_ends_in_one_line_before_anything_is_written(words, line, scan, capsys, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert main(["predict", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lmk3d: error: ")
    assert err.count("\n") == 1
    assert line in err
    assert sorted(tmp_path.rglob("*")) == before


def test_ctrl_c_ends_with_130_and_leaves_nothing(scan, capsys, tmp_path, monkeypatch):
    def interrupted(_self, _volume):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["lmk3d.inference"].LandmarkDetector, "detect", interrupted)
    before = sorted(tmp_path.rglob("*"))
    assert main(["predict", "scan.nii.gz", "--device", "cpu", "--output", "out"]) == 130
    assert capsys.readouterr().err == "lmk3d: interrupted; no half-written file is left\n"
    assert sorted(tmp_path.rglob("*")) == before


def test_film_without_spacing_is_reported_in_pixels(scan, capsys, tmp_path, monkeypatch):
    film = np.zeros((4, 5, 1), np.uint8)
    film[2, 3] = 9
    volume = Volume(film, Grid((4, 5, 1), np.eye(4)), unit="px")
    monkeypatch.setattr("lmk3d.prediction.read_image", lambda *_args, **_options: volume)
    assert main(["predict", "scan.nii.gz", "--device", "cpu"]) == 0
    assert "in pixels, since the file tells no spacing (give --spacing)" in capsys.readouterr().out
    assert json.loads((tmp_path / "scan.manifest.json").read_text(encoding="utf-8"))["input"]["unit"] == "px"
