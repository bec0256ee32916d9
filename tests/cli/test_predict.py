from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from lmk3d.cli import main
from lmk3d.geometry import Grid, Volume
from lmk3d.io import read_points, write_image
from lmk3d.landmarks import Assessment


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
    assert ["brightest", "-8.00", "24.00", "36.00", "0.90", "0.5"] in [line.split() for line in out.splitlines()]
    assert ["absent", "missing", "-", "-", "0.10", "-"] in [line.split() for line in out.splitlines()]
    assert "wrote scan.mrk.json, scan.manifest.json" in out
    assert len(read_points(tmp_path / "scan.mrk.json")["brightest"]) == 1


def test_what_a_bundle_says_of_itself_is_told_once_and_written_with_the_points(scan, capsys, tmp_path, monkeypatch):
    detect = sys.modules["lmk3d.inference"].LandmarkDetector.detect
    told = "trained on phantoms alone"
    monkeypatch.setattr(sys.modules["lmk3d.inference"].LandmarkDetector, "notes", (told,))
    monkeypatch.setattr(
        sys.modules["lmk3d.inference"].LandmarkDetector,
        "detect",
        lambda self, volume: replace(detect(self, volume), notes=self.notes),
    )
    shutil.copy(scan, tmp_path / "again.nii.gz")
    words = ["predict", "scan.nii.gz", "again.nii.gz", "--device", "cpu", "--format", "mrk.json,fcsv,json"]
    assert main(words) == 0
    assert capsys.readouterr().out.count(f"note: {told}\n") == 1
    assert main([*words[:2], "--device", "cpu", "--output", "one"]) == 0
    assert capsys.readouterr().out.count(f"note: {told}\n") == 1
    for name in ("scan", "again"):
        manifest = json.loads((tmp_path / f"{name}.manifest.json").read_text(encoding="utf-8"))
        assert manifest["bundle"]["notes"] == [told]
        assert all(
            read_points(tmp_path / f"{name}.{ending}").notes == (told,) for ending in ("mrk.json", "fcsv", "json")
        )


def test_predict_again_says_that_it_is_done_and_replaces_only_when_told_to(scan, capsys):
    assert main(["predict", "scan.nii.gz", "--device", "cpu"]) == 0
    capsys.readouterr()
    assert main(["predict", "scan.nii.gz", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "scan.nii.gz: done already, skipped\n"
    assert main(["predict", "scan.nii.gz", "--device", "cpu", "--overwrite"]) == 0
    assert "wrote scan.mrk.json" in capsys.readouterr().out


def test_a_batch_of_100_with_10_broken_files_gives_90_results_and_10_named_failures(scan, capsys, tmp_path):
    broken = {f"scan_{number:03}.nii.gz": number for number in range(3, 100, 10)}
    (tmp_path / "cohort").mkdir()
    whole = scan.read_bytes()
    for number in range(100):
        name = f"scan_{number:03}.nii.gz"
        damaged = [b"", b"no image", whole[: len(whole) // 2]][number % 3]
        (tmp_path / "cohort" / name).write_bytes(damaged if name in broken else whole)
    assert main(["predict", "cohort", "--device", "cpu", "--output", "out"]) == 2
    out, err = capsys.readouterr()
    assert len(list((tmp_path / "out").glob("*.mrk.json"))) == 90
    assert len(list((tmp_path / "out").iterdir())) == 180
    lines = err.splitlines()
    assert [line.split(": ")[2] for line in lines] == [f"cohort/{name}" for name in sorted(broken)]
    assert "90 of 100 scans done, 10 could not be used; " in out
    assert [line.removeprefix("lmk3d: error: ") for line in lines] == [line[2:] for line in out.splitlines()[-10:]]
    assert main(["predict", "cohort", "--device", "cpu", "--output", "out"]) == 2
    out, err = capsys.readouterr()
    assert "90 of 100 scans done (90 of them by an earlier run), 10 could not be used; " in out
    assert err.splitlines() == lines


def test_a_batch_goes_on_after_a_bad_scan_and_ends_with_2(scan, capsys, tmp_path):
    (tmp_path / "broken.nii.gz").write_text("no image", encoding="utf-8")
    assert main(["predict", ".", "--device", "cpu", "--output", "out", "--format", "csv,fcsv"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("lmk3d: error: broken.nii.gz: ")
    assert err.count("\n") == 1
    assert "scan.nii.gz: 6 x 5 x 4 voxels of 2 x 2 x 2 mm; 2 of 3 landmarks, world RAS in mm, 0.0 s\n" in out
    assert "1 of 2 scans done, 1 could not be used; " in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scan.csv", "scan.fcsv", "scan.manifest.json"]


def test_terminated_is_as_clean_as_ctrl_c(scan, capsys, tmp_path, monkeypatch):
    def terminated(*_args, **_options):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("lmk3d.predictor.write_points", terminated)
    assert main(["predict", "scan.nii.gz", "--device", "cpu", "--output", "out"]) == 130
    assert capsys.readouterr().err == "lmk3d: interrupted; no half-written file is left\n"
    assert not (tmp_path / "out").exists()
    assert signal.getsignal(signal.SIGTERM) is before


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
    monkeypatch.setattr("lmk3d.predictor.read_image", lambda *_args, **_options: volume)
    assert main(["predict", "scan.nii.gz", "--device", "cpu"]) == 0
    assert "in pixels, since the file tells no spacing (give --spacing)" in capsys.readouterr().out
    assert json.loads((tmp_path / "scan.manifest.json").read_text(encoding="utf-8"))["input"]["unit"] == "px"


def test_a_patient_shows_nowhere_unless_asked_for(tmp_path, write_series, fake_bundle, capsys, monkeypatch):
    pytest.importorskip("highdicom")
    monkeypatch.chdir(tmp_path)
    doe = {"PatientName": "Doe^Jane", "PatientID": "4711", "SeriesDescription": "thorax of Doe"}
    write_series(tmp_path / "cohort" / "Doe_Jane" / "4711", **doe)
    write_series(tmp_path / "cohort" / "ROE_Jim", **{**doe, "PatientName": "Roe^Jim"})
    bad = write_series(tmp_path / "cohort" / "Doe_Jane" / "second", slices=4, **doe)
    (bad / "1.dcm").unlink()  # the stack has a hole
    (tmp_path / "cohort" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 20)
    words = ["predict", "cohort", "--device", "cpu", "--output", "out", "--format", "mrk.json,csv,sr", "--preview"]
    monkeypatch.setattr("lmk3d.plots.save_preview", draw_title)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert "2 of 4 scans done, 2 could not be used" in out
    assert "cohort/broken.dcm: is no DICOM file, or a damaged one" in err
    written = sorted((tmp_path / "out").iterdir())
    assert len(written) == 10  # points in three formats, preview and manifest, twice
    texts = [out, err, *(path.name for path in written)]
    texts += [path.read_text(encoding="utf-8") for path in written if path.suffix != ".dcm"]
    for text in texts:
        assert not re.search("doe|jane|roe|jim|4711", text, re.IGNORECASE), text
    (report, _) = (path for path in written if path.suffix == ".dcm")  # which belongs into the patient's study
    assert_found = read_points(report)["brightest"]
    np.testing.assert_allclose(assert_found, [[-3, -2, 2]], atol=1e-4)
    assert main(words) == 2
    assert "2 of 4 scans done (2 of them by an earlier run)" in capsys.readouterr().out
    assert main([*words, "--names"]) == 2
    assert "cohort/Doe_Jane/4711:" in capsys.readouterr().out
    assert (tmp_path / "out" / "ROE_Jim.csv").exists()


def draw_title(_volume, _landmarks, path, *, title):
    path.write_text(title, encoding="utf-8")
    return [path]


def test_a_dicom_report_of_what_is_no_dicom_is_one_line(scan, capsys, tmp_path):
    pytest.importorskip("highdicom")
    assert main(["predict", "scan.nii.gz", "--device", "cpu", "--format", "sr", "--output", "out"]) == 2
    line = "scan.nii.gz: is no DICOM, so a DICOM report has nothing to refer to; choose another --format"
    assert capsys.readouterr().err == f"lmk3d: error: {line}\n"
    assert not (tmp_path / "out").exists()


def test_nibabel_comes_without_pydicom_which_can_be_imported_afterwards():
    code = (
        "import sys; from lmk3d.cli.predict import _import_nibabel; _import_nibabel(); _import_nibabel();"
        "print('nibabel.nifti2' in sys.modules, 'pydicom' in sys.modules); import pydicom; print(pydicom.__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "False", "pydicom"]


DOUBTFUL = Assessment((), ("", "the stages are 12 mm apart", ""))
UNLIKE = Assessment(("intensities are those of no CT",), ("", "", ""))


@pytest.fixture
def assess(monkeypatch):
    """Sets how all scans, or each by the name of its file, are assessed from now on."""

    def set_to(assessment):
        monkeypatch.setattr(sys.modules["lmk3d.inference"].LandmarkDetector, "assessment", assessment)
        monkeypatch.setattr(sys.modules["lmk3d.inference"].LandmarkDetector, "coverage", 0.9)

    return set_to


def test_the_first_line_is_the_verdict_and_untrusted_points_are_withheld(scan, capsys, assess, tmp_path):
    assess(DOUBTFUL)
    assert main(["predict", "scan.nii.gz", "--device", "cpu"]) == 3
    assert capsys.readouterr().out.splitlines() == [
        "DOUBTFUL: 1 of 2 points found not to be trusted",
        "  - beside: the stages are 12 mm apart",
        "scan.nii.gz: 6 x 5 x 4 voxels of 2 x 2 x 2 mm; 1 of 3 landmarks (1 withheld), world RAS in mm",
        "landmark          R      A      S  confidence  90 % radius",
        "brightest     -8.00  24.00  36.00        0.90          0.5",
        "beside     withheld      -      -           -     doubtful",
        "absent      missing      -      -        0.10            -",
        "points that are not trusted are withheld; --keep-untrusted writes them, marked",
        "wrote scan.mrk.json, scan.manifest.json",
    ]


def test_kept_points_are_shown_without_their_error(scan, capsys, assess):
    assess(UNLIKE)
    assert main(["predict", "scan.nii.gz", "--device", "cpu", "--keep-untrusted"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["NOT TRUSTED: the scan is unlike the training data", "  - intensities are those of no CT"]
    assert "brightest    -8.00  24.00  36.00           -       unlike" in lines
    assert "absent     missing      -      -           -            -" in lines
    assert not any("0.5" in line or "withheld" in line for line in lines)


def test_a_trusted_scan_ends_with_0(scan, capsys, assess):
    assess(Assessment((), ("", "", "")))
    assert main(["predict", "scan.nii.gz", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith("trusted: the scan is like the training data")


def test_a_batch_says_each_verdict_counts_them_and_ends_alike_when_run_again(scan, capsys, assess, tmp_path):
    shutil.copy(scan, tmp_path / "second.nii.gz")
    assess(DOUBTFUL)
    assert main(["predict", "second.nii.gz", "--device", "cpu"]) == 3
    assess(Assessment((), ("", "", "")))
    capsys.readouterr()
    words = ["predict", "scan.nii.gz", "second.nii.gz", "--device", "cpu"]
    assert main(words) == 3
    out = capsys.readouterr().out
    assert "trusted: scan.nii.gz: 6 x 5 x 4 voxels" in out
    assert "second.nii.gz: done already, skipped, doubtful\n" in out
    assert "\n1 trusted, 1 doubtful, 0 unlike the training data\n" in out
    assert main(words) == 3
    assert "\n1 trusted, 1 doubtful, 0 unlike the training data\n" in capsys.readouterr().out
    (tmp_path / "broken.nii.gz").write_text("no image", encoding="utf-8")
    assert main([*words, "broken.nii.gz"]) == 2  # wrong input wins
    (tmp_path / "broken.nii.gz").unlink()
    assert main(["predict", "scan.nii.gz", "--device", "cpu"]) == 0
