from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import numpy as np

from lmk3d.landmarks import Landmarks
from lmk3d.manifest import describe_input, sha256, write_manifest


def test_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "scan.nii"
    path.write_bytes(b"abc" * 700_000)  # more than one block
    assert sha256(path) == hashlib.sha256(b"abc" * 700_000).hexdigest()


def test_digest_of_a_folder_follows_names_and_contents_alone(tmp_path):
    for folder, order in (("one", "ab"), ("two", "ba")):
        (tmp_path / folder / "deep").mkdir(parents=True)
        for name in order:
            (tmp_path / folder / "deep" / name).write_text(f"content of {name}", encoding="utf-8")
    assert sha256(tmp_path / "one") == sha256(tmp_path / "two")
    (tmp_path / "two" / "deep" / "b").rename(tmp_path / "two" / "deep" / "c")
    assert sha256(tmp_path / "one") != sha256(tmp_path / "two")


def test_input_is_described_by_digest_size_and_spacing(tmp_path, bright_volume):
    path = tmp_path / "scan.nii"
    path.write_bytes(b"x")
    described = describe_input(path, bright_volume)
    assert described == {
        "path": str(path),
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
        detector=SimpleNamespace(version="0.3"),
        bundle=bundle,
        results=(landmarks, ["scan.fcsv"]),
        run={"device": "cpu", "seconds": {"read": 0.1}},
    )
    content = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    weights = {"model.pt": hashlib.sha256(b"weights").hexdigest()}
    assert content["bundle"] == {"name": "mine", "version": "0.3", "weights_sha256": weights}
    assert content["landmarks"] == {"found": ["root"], "missing": ["tip"]}
    assert content["outputs"] == ["scan.fcsv"]
    assert content["device"] == "cpu"
    assert content["versions"]["numpy"] == np.__version__
