from __future__ import annotations

import hashlib
import json

import numpy as np

from lmk3d.landmarks import Landmarks
from lmk3d.manifest import bundle_digests, describe_bundle, describe_input, read_manifest, sha256, write_manifest


def test_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "scan.nii"
    path.write_bytes(b"abc" * 700_000)  # more than one block
    assert sha256(path) == hashlib.sha256(b"abc" * 700_000).hexdigest()


def folder_of(parent, files):
    for name, content in files.items():
        (parent / name).parent.mkdir(parents=True, exist_ok=True)
        (parent / name).write_text(content, encoding="utf-8")
    return parent


def test_digest_of_a_folder_follows_names_and_contents_alone(tmp_path, bright_volume):
    one = folder_of(tmp_path / "one", {"deep/a": "first", "b": "second"})
    two = folder_of(tmp_path / "two", {"b": "second", "deep/a": "first"})
    described = describe_input(one, bright_volume)
    lines = "".join(
        f"{hashlib.sha256(text).hexdigest()}  {name}\n" for text, name in [(b"second", "b"), (b"first", "deep/a")]
    )
    assert described["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert described["files"] == 2
    assert describe_input(two, bright_volume)["sha256"] == described["sha256"]
    (two / "b").rename(two / "c")
    assert describe_input(two, bright_volume)["sha256"] != described["sha256"]


def test_all_files_an_image_was_read_from_count(tmp_path, bright_volume):
    folder_of(
        tmp_path, {"scan.mhd": "header", "scan.raw": "voxels", "other.raw": "x", "ct/1": "slice", "ct/2": "slice"}
    )
    assert describe_input(tmp_path / "scan.mhd", bright_volume)["files"] == 2
    assert describe_input(tmp_path / "ct" / "1", bright_volume)["files"] == 2


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
        bundle=describe_bundle(bundle, "0.3", ["phantoms alone"]),
        landmarks=landmarks,
        outputs=["scan.fcsv"],
        run={"device": "cpu", "seconds": {"read": 0.1}},
    )
    content = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert content["bundle"] == {
        "name": "mine",
        "version": "0.3",
        "notes": ["phantoms alone"],
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


def test_what_predictions_left_in_a_folder_is_no_part_of_its_image(tmp_path, bright_volume):
    folder_of(tmp_path, {"1": "slice", "2": "slice"})
    described = describe_input(tmp_path, bright_volume)
    endings = ("manifest.json", "mrk.json", "fcsv", "csv", "json", "sr.dcm", "preview.png", "preview-2.png")
    folder_of(tmp_path, {f"scan.{ending}": "" for ending in endings} | {".scan.x.part/scan.dcm": ""})
    assert describe_input(tmp_path, bright_volume) == described
    part = folder_of(tmp_path / "study.part", {"1": "slice", "2": "slice"})  # such a name above the image means nothing
    assert describe_input(part, bright_volume)["sha256"] == described["sha256"]
