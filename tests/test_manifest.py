from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.landmarks import Landmarks
from lmk3d.manifest import (
    bundle_digests,
    describe_bundle,
    describe_input,
    digest_input,
    read_manifest,
    sha256,
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
    folder_of(tmp_path, {"scan.mhd": "header", "scan.raw": "voxels", "other.raw": "x", "scan.mrk.json": ""})
    assert describe_input(tmp_path / "scan.mhd", bright_volume)["files"] == 2
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


def test_input_is_described_by_digest_size_and_spacing(tmp_path, bright_volume):
    path = tmp_path / "scan.nii"
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
        bundle=describe_bundle(bundle, "0.3"),
        landmarks=landmarks,
        outputs=["scan.fcsv"],
        run={"device": "cpu", "seconds": {"read": 0.1}},
    )
    content = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert content["bundle"] == {
        "name": "mine",
        "version": "0.3",
        "sha256": hashlib.sha256(b"weights").hexdigest(),
        "config_sha256": "",
    }
    assert content["landmarks"] == {"found": ["root"], "missing": ["tip"]}
    assert content["outputs"] == ["scan.fcsv"]
    assert content["device"] == "cpu"
    assert content["versions"]["numpy"] == np.__version__


def test_configuration_of_a_bundle_counts_wherever_it_stands(tmp_path):
    folder_of(tmp_path, {"a/models/model.pt": "w", "a/inference.json": "{}"})
    folder_of(tmp_path, {"b/models/model.pt": "w", "b/configs/inference.json": "{}"})
    assert bundle_digests(tmp_path / "a") == bundle_digests(tmp_path / "b")
    assert bundle_digests(tmp_path / "a")["config_sha256"] == hashlib.sha256(b"{}").hexdigest()


def test_what_is_no_manifest_reads_as_empty(tmp_path):
    assert read_manifest(tmp_path / "nowhere.json") == {}
    for content in ("no json", "[]", '{"input": {}, "bundle": {}, "outputs": []}', '{"input": 1}'):
        (tmp_path / "m.json").write_text(content, encoding="utf-8")
        assert read_manifest(tmp_path / "m.json") == {}
