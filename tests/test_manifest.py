from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io import write_image
from lmk3d.landmarks import Assessment, Landmarks
from lmk3d.manifest import (
    bundle_digests,
    describe_bundle,
    describe_input,
    digest_input,
    read_manifest,
    sha256,
    verdict_in,
    write_manifest,
)


def test_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "scan.nii"
    path.write_bytes(b"abc" * 700_000)  # more than one block
    assert sha256(path) == hashlib.sha256(b"abc" * 700_000).hexdigest()


def folder_of(parent, files):
    for name, content in files.items():
        (parent / name).parent.mkdir(parents=True, exist_ok=True)
        (parent / name).write_text(content, encoding="utf-8")
    return parent


def test_digest_of_a_folder_follows_names_and_contents_alone(tmp_path, bright_volume, write_series):
    one = write_series(tmp_path / "one", slices=2)
    (one / "deep").mkdir()
    (one / "0.dcm").rename(one / "deep" / "a")
    shutil.copytree(one, tmp_path / "two")
    described = describe_input(one, bright_volume)
    lines = "".join(
        f"{hashlib.sha256((one / name).read_bytes()).hexdigest()}  {name}\n" for name in ("1.dcm", "deep/a")
    )
    assert described["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert described["files"] == 2
    assert describe_input(tmp_path / "two", bright_volume)["sha256"] == described["sha256"]
    (tmp_path / "two" / "1.dcm").rename(tmp_path / "two" / "2.dcm")
    assert describe_input(tmp_path / "two", bright_volume)["sha256"] != described["sha256"]


def test_all_files_an_image_was_read_from_count(tmp_path, bright_volume, write_series):
    headers = {"scan.mhd": "ElementDataFile = other.raw\n", "b.nhdr": "NRRD0004\ndata file: deep/b.raw\n\n"}
    voxels = {"other.raw": "voxels", "deep/b.raw": "voxels", "p.hdr": "header", "p.img": "voxels"}
    folder_of(tmp_path, headers | voxels | {"scan.raw": "x", "scan.txt": "x"})
    for name in ("scan.mhd", "b.nhdr", "p.hdr", "p.img"):
        before = digest_input(tmp_path / name)
        assert before[0] == 2
        for beside in ("scan.raw", "scan.txt"):
            (tmp_path / beside).write_text("changed", encoding="utf-8")
        assert digest_input(tmp_path / name) == before
        for path in (tmp_path / "other.raw", tmp_path / "deep" / "b.raw", tmp_path / "p.img"):
            path.write_text(path.read_text(encoding="utf-8") + name, encoding="utf-8")
        assert digest_input(tmp_path / name)[1] != before[1]
    assert digest_input(tmp_path / "p.hdr") == digest_input(tmp_path / "p.img")
    assert describe_input(write_series(tmp_path / "ct") / "1.dcm", bright_volume)["files"] == 3


def test_other_files_beside_a_series_are_no_part_of_it(tmp_path, bright_volume, write_series):
    folder = write_series(tmp_path / "ct")
    inputs = (folder, folder / "1.dcm")
    described = [describe_input(path, bright_volume) for path in inputs]
    write_series(tmp_path / "other", Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.34", Rows=None)
    (tmp_path / "other" / "0.dcm").rename(folder / "report.dcm")
    folder_of(folder, {"notes.txt": "see me", "scan.fcsv": "", ".1.part/0.dcm": ""})
    assert [describe_input(path, bright_volume) for path in inputs] == described
    write_series(tmp_path / "second")
    for path in (tmp_path / "second").iterdir():
        path.rename(folder / f"second {path.name}")
    assert describe_input(folder / "1.dcm", bright_volume) == described[1]
    with pytest.raises(InputError, match="holds 2 series"):
        digest_input(folder)
    (folder / "2.dcm").write_bytes((folder / "2.dcm").read_bytes()[:-2] + b"12")
    assert describe_input(folder / "1.dcm", bright_volume)["sha256"] != described[1]["sha256"]


def test_freshness_is_known_without_pixels(tmp_path, bright_volume, write_series, monkeypatch):
    folder = write_series(tmp_path / "ct")
    described = describe_input(folder, bright_volume)

    def fail(_entry):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("lmk3d.io.dicom_pixels.read_pixels", fail)
    monkeypatch.setattr("lmk3d.io.dicom_stack.read_pixels", fail)
    assert digest_input(folder) == (described["files"], described["sha256"])


def test_header_that_cannot_be_read_is_digested_alone(tmp_path):
    folder_of(tmp_path, {"scan.mhd": "damaged", "p.hdr": "no partner", "b.nhdr": "NRRD0004\ndata file: ../x\n\n"})
    assert [digest_input(tmp_path / name)[0] for name in ("scan.mhd", "p.hdr", "b.nhdr")] == [1, 1, 1]


def test_form_of_every_nifti_image_is_recorded(tmp_path, bright_volume):
    write_image(bright_volume, tmp_path / "a.nii.gz")
    assert describe_input(tmp_path / "a.nii.gz", bright_volume)["orientation"] == "sform (code 1)"
    write_image(bright_volume, tmp_path / "a.nrrd")
    assert "orientation" not in describe_input(tmp_path / "a.nrrd", bright_volume)


def test_input_is_described_by_digest_size_and_spacing(tmp_path, bright_volume):
    path = tmp_path / "scan.png"
    path.write_bytes(b"x")
    described = describe_input(path, bright_volume)
    assert described == {
        "path": str(path),
        "files": 1,
        "sha256": hashlib.sha256(b"x").hexdigest(),
        "shape": [6, 5, 4],
        "spacing": [2.0, 2.0, 2.0],
        "unit": "mm",
    }


def test_manifest_names_bundle_weights_packages_and_instances_once(tmp_path):
    bundle = tmp_path / "mine"
    (bundle / "models").mkdir(parents=True)
    (bundle / "models" / "model.pt").write_bytes(b"weights")
    landmarks = Landmarks(("root", "root", "tip"), [[1, 2, 3], [np.nan] * 3, [np.nan] * 3])
    write_manifest(
        tmp_path / "m.json",
        image={"path": "scan.nii"},
        bundle=describe_bundle(bundle, "0.3", ["phantoms alone"]),
        landmarks=landmarks,
        run={"outputs": ["scan.fcsv"], "device": "cpu", "seconds": {"read": 0.1}},
    )
    content = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert content["bundle"] == {
        "name": "mine",
        "version": "0.3",
        "notes": ["phantoms alone"],
        "sha256": hashlib.sha256(b"weights").hexdigest(),
        "config_sha256": "",
        "calibration_sha256": "",
    }
    assert content["landmarks"] == {"found": ["root"], "withheld": [], "missing": ["tip"]}
    assert content["assessment"] is None
    assert verdict_in(content) == ""
    assert content["outputs"] == ["scan.fcsv"]
    assert content["device"] == "cpu"
    assert content["versions"]["numpy"] == np.__version__


def test_manifest_says_what_was_withheld_and_why(tmp_path):
    doubts = ("", "far off", "left of right", "")
    landmarks = Landmarks(
        ("root", "tip", "tip", "apex"),
        [[1, 2, 3], *[[np.nan] * 3] * 3],
        assessment=Assessment((), doubts),
        coverage=0.9,
        held_back=[False, True, True, False],
    )
    write_manifest(tmp_path / "m.json", image={}, bundle={}, landmarks=landmarks, run={})
    content = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert content["landmarks"] == {"found": ["root"], "withheld": ["tip"], "missing": ["apex"]}
    doubts = {"tip": ["far off", "left of right"]}
    assert content["assessment"] == {"verdict": "doubtful", "reasons": [], "doubts": doubts}
    assert content["coverage"] == 0.9
    assert verdict_in(content) == "doubtful"
    assert verdict_in({"assessment": {"verdict": ["?"]}}) == ""


def test_configuration_of_a_bundle_counts_wherever_it_stands(tmp_path):
    folder_of(tmp_path, {"a/models/model.pt": "w", "a/inference.json": "{}"})
    folder_of(tmp_path, {"b/models/model.pt": "w", "b/configs/inference.json": "{}"})
    assert bundle_digests(tmp_path / "a") == bundle_digests(tmp_path / "b")
    assert bundle_digests(tmp_path / "a")["config_sha256"] == hashlib.sha256(b"{}").hexdigest()


def test_a_calibration_counts_as_part_of_the_bundle(tmp_path):
    folder_of(tmp_path, {"a/models/model.pt": "w", "a/models/calibration.json": "{}"})
    assert bundle_digests(tmp_path / "a")["calibration_sha256"] == hashlib.sha256(b"{}").hexdigest()


def test_what_is_no_manifest_reads_as_empty(tmp_path):
    assert read_manifest(tmp_path / "nowhere.json") == {}
    for content in ("no json", "[]", '{"input": {}, "bundle": {}, "outputs": []}', '{"input": 1}'):
        (tmp_path / "m.json").write_text(content, encoding="utf-8")
        assert read_manifest(tmp_path / "m.json") == {}
