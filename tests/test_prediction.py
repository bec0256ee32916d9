from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d import predictor
from lmk3d.errors import InputError
from lmk3d.geometry import Volume
from lmk3d.io import read_points, write_image
from lmk3d.io.atomic import part_folder
from lmk3d.io.patients import Patient
from lmk3d.landmarks import Assessment
from lmk3d.prediction import PredictOptions, output_names, predict_files


@pytest.fixture
def scan(tmp_path, bright_volume):
    path = tmp_path / "in" / "scan.nii.gz"
    path.parent.mkdir()
    write_image(bright_volume, path)
    return path


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_prediction_writes_points_in_world_mm_beside_a_manifest(scan, fake_bundle, tmp_path):
    out = tmp_path / "out"
    (result,) = predict_files([scan], fake_bundle, output=out)
    assert listed(out) == ["scan.manifest.json", "scan.mrk.json"]
    assert_allclose(result.landmarks["brightest"], [[-8, 24, 36]])  # -10 + 2 * 1, 20 + 2 * 2, 30 + 2 * 3
    written = read_points(out / "scan.mrk.json").ordered(result.landmarks.names)
    assert_allclose(written.points_mm, result.landmarks.points_mm, atol=1e-6)
    assert [path.name for path in result.outputs] == ["scan.mrk.json", "scan.manifest.json"]


def test_all_formats_hold_the_same_points(scan, fake_bundle, tmp_path):
    formats = ("mrk.json", "fcsv", "csv", "json")
    (result,) = predict_files([scan], fake_bundle, output=tmp_path, options=PredictOptions(formats=formats))
    for ending in formats:
        points = read_points(tmp_path / f"scan.{ending}").ordered(result.landmarks.names)
        assert_allclose(points.points_mm, result.landmarks.points_mm, atol=1e-6, err_msg=ending)


def test_preview_pages_are_outputs_too(scan, fake_bundle, tmp_path, monkeypatch):
    def save_preview(volume, landmarks, path, *, title):
        pages = [path.with_name(f"{path.stem}-{number}.png") for number in (1, 2)]
        for page in pages:
            page.write_bytes(b"png")
        return pages

    monkeypatch.setattr("lmk3d.plots.save_preview", save_preview)
    (result,) = predict_files([scan], fake_bundle, output=tmp_path, options=PredictOptions(preview=True))
    names = ["scan.mrk.json", "scan.preview-1.png", "scan.preview-2.png", "scan.manifest.json"]
    assert [path.name for path in result.outputs] == names
    assert all(path.is_file() for path in result.outputs)
    (again,) = predict_files([scan], fake_bundle, output=tmp_path, options=PredictOptions(preview=True))
    assert again.skipped
    assert [path.name for path in again.outputs] == names


def test_existing_outputs_are_kept_unless_overwrite_is_asked_for(scan, fake_bundle, tmp_path):
    mine = tmp_path / "scan.mrk.json"
    mine.write_text("corrected by hand", encoding="utf-8")
    (result,) = predict_files([scan], fake_bundle, output=tmp_path)
    assert str(result.error) == (
        f"{scan}: {mine} exists already, and no manifest says what it was made from; "
        "give another --output, or --overwrite to replace it"
    )
    assert mine.read_text(encoding="utf-8") == "corrected by hand"
    predict_files([scan], fake_bundle, output=tmp_path, options=PredictOptions(overwrite=True))
    assert len(read_points(mine)) == 3


def test_a_bad_scan_does_not_stop_the_others(scan, fake_bundle, tmp_path, bright_volume):
    (scan.parent / "broken.nii.gz").write_text("this is no image", encoding="utf-8")
    write_image(Volume(np.zeros((6, 5, 4), np.int16), bright_volume.grid), scan.parent / "constant.nii.gz")
    seen = []
    results = predict_files([scan.parent], fake_bundle, output=tmp_path / "out", report=seen.append)
    assert seen == results
    assert [(result.finished, result.total) for result in seen] == [(1, 3), (2, 3), (3, 3)]
    assert [result.image.name for result in results] == ["broken.nii.gz", "constant.nii.gz", "scan.nii.gz"]
    assert [result.landmarks is None for result in results] == [True, True, False]
    assert "broken.nii.gz" in str(results[0].error)
    assert str(results[1].error) == f"{scan.parent / 'constant.nii.gz'}: the image is constant; is it the right file?"
    assert results[1].error.__traceback__ is results[1].error.__cause__.__traceback__ is None  # they hold the volume
    assert listed(tmp_path / "out") == ["scan.manifest.json", "scan.mrk.json"]


def test_nothing_is_left_of_a_prediction_that_fails_while_writing(scan, fake_bundle, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(predictor, "write_manifest", full)
    (result,) = predict_files([scan], fake_bundle, output=tmp_path / "new" / "out")
    assert "No space left" in str(result.error)
    assert not (tmp_path / "new").exists()  # it was made for this run


def interrupted_at(scan, monkeypatch):
    """Ctrl-C while the detector looks at so manyth a scan; the list that each volume it looks at is put into."""
    detector = sys.modules["lmk3d.inference"].LandmarkDetector
    detect, seen = detector.detect, []

    def detect_some(self, volume):
        seen.append(volume)
        if len(seen) == scan:
            raise KeyboardInterrupt
        return detect(self, volume)

    monkeypatch.setattr(detector, "detect", detect_some)
    return seen


def test_ctrl_c_leaves_whole_scans_and_nothing_else(scan, fake_bundle, tmp_path, bright_volume, monkeypatch):
    write_image(bright_volume, scan.parent / "second.nii.gz")
    interrupted_at(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        predict_files([scan.parent], fake_bundle, output=tmp_path / "out")
    assert listed(tmp_path / "out") == ["scan.manifest.json", "scan.mrk.json"]


def test_ctrl_c_while_writing_leaves_nothing(scan, fake_bundle, tmp_path, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(predictor, "write_manifest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_files([scan], fake_bundle, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unwritable_output_is_found_before_anything_is_computed(scan, fake_bundle, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"out: cannot be written to \("):
        predict_files([scan], tmp_path / "no bundle", output=tmp_path / "file" / "out")


def test_unusable_bundle_stops_the_run_and_leaves_no_folder(scan, fake_bundle, tmp_path):
    (fake_bundle / "models" / "model.pt").unlink()
    with pytest.raises(InputError, match=r"holds no models/model\.pt"):
        predict_files([scan], fake_bundle, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_file_and_folder_without_images_are_named(fake_bundle, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.nii"):
        predict_files([tmp_path / "nowhere.nii"], fake_bundle, output=tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        predict_files([tmp_path / "empty"], fake_bundle, output=tmp_path / "out")


def test_manifest_says_what_was_computed_from_what(scan, fake_bundle, tmp_path):
    predict_files([scan], fake_bundle, output=tmp_path)
    content = json.loads((tmp_path / "scan.manifest.json").read_text(encoding="utf-8"))
    assert content["input"]["shape"] == [6, 5, 4]
    assert content["bundle"]["version"] == "1.2.3"
    assert content["landmarks"] == {"found": ["brightest", "beside"], "withheld": [], "missing": ["absent"]}
    assert content["outputs"] == ["scan.mrk.json"]
    assert set(content["seconds"]) == {"load bundle", "read", "hash", "detect", "write"}


@pytest.fixture
def cohort(scan, bright_volume):
    """Three scans in one folder."""
    for number in (2, 3):
        write_image(bright_volume, scan.parent / f"scan{number}.nii.gz")
    return scan.parent


def states(results):
    return ["skipped" if result.skipped else "failed" if result.error else "done" for result in results]


def test_a_batch_that_was_interrupted_goes_on_where_it_stopped(cohort, fake_bundle, tmp_path, monkeypatch):
    seen = interrupted_at(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        predict_files([cohort], fake_bundle, output=tmp_path / "out")
    assert len(listed(tmp_path / "out")) == 4
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert states(predict_files([cohort], fake_bundle, output=tmp_path / "out")) == ["skipped", "skipped", "done"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert states(predict_files([cohort], fake_bundle, output=tmp_path / "out")) == ["skipped"] * 3
    assert len(seen) == 4  # a batch that is done computes nothing, and does not even load the bundle


def test_points_corrected_by_hand_stay_when_a_batch_goes_on(scan, fake_bundle, tmp_path):
    predict_files([scan], fake_bundle, output=tmp_path)
    (tmp_path / "scan.mrk.json").write_text("corrected by hand", encoding="utf-8")
    (result,) = predict_files([scan], fake_bundle, output=tmp_path, options=PredictOptions(formats=("mrk.json", "csv")))
    assert result.landmarks is not None  # it was computed again, for the table
    assert (tmp_path / "scan.mrk.json").read_text(encoding="utf-8") == "corrected by hand"
    assert len(read_points(tmp_path / "scan.csv")) == 3
    manifest = json.loads((tmp_path / "scan.manifest.json").read_text(encoding="utf-8"))
    assert manifest["outputs"] == ["scan.mrk.json", "scan.csv"]


def test_a_killed_run_leaves_a_folder_that_the_next_one_clears(scan, fake_bundle, tmp_path):
    predict_files([scan], fake_bundle, output=tmp_path)
    (tmp_path / "scan.mrk.json").unlink()  # as if killed while the files were moved, the manifest first
    left = part_folder(tmp_path)  # of whichever scan it was at
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (left / "other.mrk.json").write_text("{", encoding="utf-8")
    left.rename(tmp_path / left.name.replace(f"-{os.getpid()}-", f"-{int(process.stdout)}-"))
    assert states(predict_files([scan], fake_bundle, output=tmp_path)) == ["done"]
    assert len(read_points(tmp_path / "scan.mrk.json")) == 3
    assert not list(tmp_path.glob(".*.part"))


def test_the_folder_of_a_scan_at_work_is_left_alone(scan, fake_bundle, tmp_path):
    other = part_folder(tmp_path)  # of a process that is alive
    assert states(predict_files([scan], fake_bundle, output=tmp_path)) == ["done"]
    assert other.is_dir()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("scan", "made before the scan was changed"),
        ("weights", "made with another bundle or other weights"),
        ("configuration", "made with another bundle or other weights"),
        ("options", "made with another --series, --spacing or --coverage"),
        ("manifest", "and no manifest says what it was made from"),
    ],
)
def test_outputs_made_from_something_else_are_named_and_kept(change, reason, scan, fake_bundle, tmp_path):
    (fake_bundle / "inference.json").write_text("{}", encoding="utf-8")
    predict_files([scan], fake_bundle, output=tmp_path)
    before = (tmp_path / "scan.mrk.json").read_bytes()
    changed = {
        "scan": scan,
        "weights": fake_bundle / "models" / "model.pt",
        "configuration": fake_bundle / "inference.json",
        "manifest": tmp_path / "scan.manifest.json",
    }
    if change in changed:
        changed[change].write_bytes(b"[1]")
    options = PredictOptions(coverage=0.8 if change == "options" else 0.9)
    (result,) = predict_files([scan], fake_bundle, output=tmp_path, options=options)
    assert reason in str(result.error)
    assert (tmp_path / "scan.mrk.json").read_bytes() == before


def test_outputs_beside_their_scan_are_no_part_of_it(scan, fake_bundle, bright_volume, tmp_path):
    write_image(bright_volume, tmp_path / "scan.nrrd")
    header = tmp_path / "scan.nhdr"
    header.write_bytes((tmp_path / "scan.nrrd").read_bytes())
    for expected in ("done", "skipped"):
        assert states(predict_files([header], fake_bundle, output=tmp_path)) == [expected]


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["a/scan.nii.gz"], ["scan"]),
        (["a/one.nii.gz", "a/two.nrrd"], ["one", "two"]),
        (["a/scan.nii.gz", "b/scan.nii.gz"], ["a_scan", "b_scan"]),
        (["a/Scan.nii", "b/scan.nii"], ["a_Scan", "b_scan"]),
        (["x/a/scan.nii", "y/a/scan.nii", "z/other.nii"], ["x_a_scan", "y_a_scan", "other"]),
        (["a/scan.nii.gz", "a/scan.nrrd"], ["scan_nii.gz", "scan_nrrd"]),
        (["a/v1.2.nii.gz", "a/film.JPG"], ["v1.2", "film"]),
        (["a/a.nii.gz", "a/a.nrrd", "a/a_nrrd.nii.gz"], ["a_nii.gz", "a_nrrd_1", "a_nrrd"]),
        (["a/CT.1.3.12", "a/CT.1.3.13", "a/slice.dcm"], ["CT.1.3.12", "CT.1.3.13", "slice"]),
    ],
)
def test_output_names_never_clash(images, names):
    assert output_names([Path(image) for image in images], [Patient()] * len(images)) == names


def test_output_names_of_hidden_patients_never_clash():
    patient = Patient(("SMITH", "JOHN", "12345"), "patient-x")
    images = [Path("in") / f"{name}.dcm" for name in ("SMITH_JOHN", "SMITH", "12345")]
    assert output_names(images, [patient] * 3) == ["patient-x_dcm", "patient-x_dcm_1", "patient-x_dcm_2"]


def test_what_is_put_beside_a_series_does_not_make_its_points_stale(write_series, fake_bundle, tmp_path):
    folder = write_series(tmp_path / "ct")
    out = tmp_path / "out"
    assert states(predict_files([folder / "1.dcm"], fake_bundle, output=out)) == ["done"]
    write_series(tmp_path / "report", slices=1, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.34", Rows=None)
    shutil.copy(tmp_path / "report" / "0.dcm", folder / "report.dcm")
    (folder / "notes.txt").write_text("see me", encoding="utf-8")
    assert states(predict_files([folder / "1.dcm"], fake_bundle, output=out)) == ["skipped"]
    (folder / "0.dcm").unlink()
    (result,) = predict_files([folder / "1.dcm"], fake_bundle, output=out)
    assert "made before the scan was changed" in str(result.error)


def test_damaged_dicom_and_zip_are_named_and_the_other_scans_are_done(write_series, fake_bundle, tmp_path):
    cohort = tmp_path / "cohort"
    write_series(cohort / "a")
    folder = write_series(cohort / "b")
    (folder / "9.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((cohort / "a").iterdir()):
            archive.write(path, path.name)
    content = bytearray((tmp_path / "whole.zip").read_bytes())
    content[60:90] = bytes(30)
    (tmp_path / "broken.zip").write_bytes(content)
    (tmp_path / "text.zip").write_text("no archive", encoding="utf-8")
    inputs = [cohort, *(tmp_path / f"{name}.zip" for name in ("broken", "text", "whole"))]
    results = predict_files(inputs, fake_bundle, output=tmp_path / "out")
    errors = {result.image.name: str(result.error) for result in results if result.error is not None}
    assert sorted(errors) == ["9.dcm", "broken.zip", "text.zip"]
    assert all(isinstance(result.error, InputError) for result in results if result.error is not None)
    done = {result.image.name: result.notes for result in results if result.error is None}
    assert sorted(done) == ["0.dcm", "a", "whole.zip"]
    assert done["0.dcm"][0].startswith("9.dcm beside it cannot be read")


def test_a_series_is_chosen_for_a_whole_folder(write_series, fake_bundle, tmp_path):
    for number in (4, 5):
        write_series(tmp_path / "study" / f"s{number}", SeriesNumber=number, StudyInstanceUID="1.2")
    options = PredictOptions(series="5")
    (result,) = predict_files([tmp_path / "study"], fake_bundle, output=tmp_path / "out", options=options)
    assert result.image == tmp_path / "study" / "s5"
    assert result.error is None


DOUBTFUL = Assessment((), ("", "the stages are 12 mm apart", ""))
UNLIKE = Assessment(("intensities are those of no CT",), ("", "", ""))


def assess(monkeypatch, assessment):
    """From now on every scan is assessed so."""
    monkeypatch.setattr(sys.modules["lmk3d.inference"].LandmarkDetector, "assessment", assessment)


def landmarks_in(folder):
    return json.loads((folder / "scan.manifest.json").read_text(encoding="utf-8"))["landmarks"]


def test_points_that_are_not_trusted_are_withheld(scan, fake_bundle, tmp_path, monkeypatch):
    assess(monkeypatch, DOUBTFUL)
    shown = []
    monkeypatch.setattr("lmk3d.plots.save_preview", lambda volume, points, *rest, **more: shown.append(points) or [])
    options = PredictOptions(preview=True, formats=("mrk.json", "fcsv", "csv", "json"))
    (result,) = predict_files([scan], fake_bundle, output=tmp_path, options=options)
    assert result.verdict == "doubtful"
    for ending in options.formats:
        written = read_points(tmp_path / f"scan.{ending}")
        assert [len(written[name]) for name in ("brightest", "beside")] == [1, 0], ending
        assert written.assessment == DOUBTFUL, ending
    for points in (result.landmarks, *shown):
        assert points.present.tolist() == [True, False, False]
        assert points.error_mm[0] == 0.5
        assert np.isnan(points.error_mm[1])
    assert landmarks_in(tmp_path) == {"found": ["brightest"], "withheld": ["beside"], "missing": ["absent"]}


def test_keep_untrusted_writes_them_without_an_error(scan, fake_bundle, tmp_path, monkeypatch):
    assess(monkeypatch, UNLIKE)
    options = PredictOptions(keep_untrusted=True)
    (result,) = predict_files([scan], fake_bundle, output=tmp_path, options=options)
    written = read_points(tmp_path / "scan.mrk.json")
    assert written.present.sum() == 2
    assert written.error_mm is None
    assert written.assessment == UNLIKE
    assert result.verdict == "unlike the training data"
    assert landmarks_in(tmp_path) == {"found": ["brightest", "beside"], "withheld": [], "missing": ["absent"]}


@pytest.mark.parametrize("keep", [True, False])
def test_what_was_never_found_is_missing_in_every_output(scan, fake_bundle, tmp_path, monkeypatch, keep):
    assess(monkeypatch, UNLIKE)
    options = PredictOptions(preview=True, formats=("mrk.json", "fcsv", "csv", "json"), keep_untrusted=keep)
    (result,) = predict_files([scan], fake_bundle, output=tmp_path, options=options)
    held_back = [not keep, not keep, False]
    assert result.landmarks.held_back.tolist() == held_back
    for ending in options.formats:
        written = read_points(tmp_path / f"scan.{ending}").ordered(result.landmarks.names)
        assert written.held_back.tolist() == held_back, ending
        assert written.suspect.tolist() == [True, True, False], ending
    assert landmarks_in(tmp_path)["missing"] == ["absent"]


def test_a_scan_without_any_point_is_the_same_with_keep_untrusted(scan, fake_bundle, tmp_path, monkeypatch):
    assess(monkeypatch, UNLIKE)
    predict_files([scan], fake_bundle, output=tmp_path)
    path = tmp_path / "scan.manifest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["landmarks"] = {"found": [], "withheld": [], "missing": ["brightest", "beside", "absent"]}
    path.write_text(json.dumps(content), encoding="utf-8")
    results = predict_files([scan], fake_bundle, output=tmp_path, options=PredictOptions(keep_untrusted=True))
    assert states(results) == ["skipped"]


@pytest.mark.parametrize("kept", [True, False])
def test_a_scan_is_done_again_only_where_the_other_choice_changes_its_points(
    scan, fake_bundle, tmp_path, monkeypatch, kept
):
    for assessment, folder, state in (
        (DOUBTFUL, "doubtful", "failed"),
        (Assessment((), ("", "", "")), "trusted", "skipped"),
    ):
        assess(monkeypatch, assessment)
        for keep, expected in ((kept, "done"), (kept, "skipped"), (not kept, state)):
            options = PredictOptions(keep_untrusted=keep)
            results = predict_files([scan], fake_bundle, output=tmp_path / folder, options=options)
            assert states(results) == [expected]
            if expected == "skipped":
                assert results[0].verdict == assessment.verdict
            if expected == "failed":
                assert f"made {'with' if kept else 'without'} --keep-untrusted; give another" in str(results[0].error)
