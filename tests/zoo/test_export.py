from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from lmk3d.configure.shipped import CASCADE, SHIPPED
from lmk3d.errors import InputError
from lmk3d.inference import LandmarkDetector
from lmk3d.io import read_image, read_points, write_image
from lmk3d.synthetic import cta_phantom, film_phantom
from lmk3d.zoo import export, export_bundle

from .conftest import BUNDLES

ids = pytest.mark.parametrize("plan", SHIPPED, ids=lambda plan: plan.name)


@pytest.fixture(scope="module")
def volumes():
    films = {
        plan.name: film_phantom(**plan.phantoms["validation"][0]).volume for plan in SHIPPED if plan is not CASCADE
    }
    return {**films, "cascade": cta_phantom(3, shape=(80, 80, 80), spacing_mm=2.0).volume}


def points_vox(detector, volume):
    found = detector.detect(volume)
    return found.names, volume.grid.to_vox(found.points_mm)


def check_agreement(folder, volume, replace):
    """The whole detector says the same with other networks in the places of its own, to a hundredth of a voxel."""
    names, expected = points_vox(LandmarkDetector.from_bundle(folder), volume)
    detector = LandmarkDetector.from_bundle(folder)
    parts = [detector.network, *detector.network.refiners]
    for part, forward in zip(parts, replace(folder, len(parts)), strict=True):
        part.forward = forward
    again, points = points_vox(detector, volume)
    assert again == names
    assert np.isfinite(points).any()
    np.testing.assert_allclose(points, expected, atol=0.01)


@ids
def test_torchscript_finds_the_same_points(plan, exported, volumes):
    def replace(folder, _count):
        network = torch.jit.load(folder / "models" / "model.ts")
        return [network.forward, *(refiner.forward for refiner in network.refiners.children())]

    check_agreement(exported(plan.name), volumes[plan.name], replace)


@ids
def test_onnx_finds_the_same_points(plan, exported, volumes):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

    def runner(path):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

        def forward(*inputs):
            fed = {given.name: value.numpy() for given, value in zip(session.get_inputs(), inputs, strict=True)}
            outputs = [torch.from_numpy(output) for output in session.run(None, fed)]
            return outputs[0] if len(outputs) == 1 else tuple(outputs)

        return forward

    def replace(folder, count):
        models = folder / "models"
        return [runner(models / name) for name in ("model.onnx", *(f"refiner_{row}.onnx" for row in range(1, count)))]

    check_agreement(exported(plan.name), volumes[plan.name], replace)


def test_the_cascade_goes_into_onnx_with_open_sizes(exported):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    session = onnxruntime.InferenceSession(
        str(exported("cascade") / "models" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    (maps,) = session.run(None, {"image": np.zeros((2, 1, 64, 96, 32), np.float32)})
    assert maps.shape == (2, 14, 32, 48, 16)


@pytest.mark.slow
def test_an_exported_bundle_predicts_with_monais_own_command(exported, volumes, tmp_path):
    write_image(volumes["cascade"], tmp_path / "scan.nii.gz")
    config = exported("cascade") / "configs" / "inference.json"
    words = ["monai.bundle", "run", "--config_file", config, "--image", tmp_path / "scan.nii.gz", "--device", "cpu"]
    command = [sys.executable, "-m", *map(str, words), "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = read_points(tmp_path / "out" / "scan.mrk.json")
    expected = LandmarkDetector.from_bundle(exported("cascade")).detect(read_image(tmp_path / "scan.nii.gz"))
    np.testing.assert_allclose(found.points_mm, expected.points_mm, atol=0.01)


def test_the_layout_is_that_of_the_zoo(exported):
    folder = exported("cascade")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names >= {"LICENSE", "docs/README.md", "models/model.pt", "models/model.ts", "configs/logging.conf"}
    assert names >= {f"configs/{name}.json" for name in ("metadata", "inference", "train", "evaluate", "paper")}
    assert not (folder / "large_files.yml").exists()
    assert export_bundle(folder, folder.parent / "again")  # and an exported bundle can be exported


def test_a_file_over_the_limit_is_listed_with_its_digest(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "LARGE_BYTES", 1_000_000)
    export_bundle(BUNDLES / "cascade", tmp_path / "cascade")
    text = (tmp_path / "cascade" / "large_files.yml").read_text(encoding="utf-8")
    assert '- path: "models/model.pt"' in text
    assert re.search(r'hash_val: "[0-9a-f]{64}"', text)


def test_a_bundle_without_weights_is_exported_without_them(tmp_path):
    shutil.copytree(BUNDLES / "denseseg", tmp_path / "denseseg", ignore=shutil.ignore_patterns("*.pt"))
    files = export_bundle(tmp_path / "denseseg", tmp_path / "out")
    assert not [path for path in files if path.suffix == ".pt"]
    with pytest.raises(InputError, match="train the bundle before its export"):
        export_bundle(tmp_path / "denseseg", tmp_path / "other", torchscript=True)
    assert not (tmp_path / "other").exists()


def test_where_the_data_lie_stays_at_home(tmp_path):
    source = shutil.copytree(BUNDLES / "cascade", tmp_path / "cascade")
    config = json.loads((source / "train.json").read_text(encoding="utf-8"))
    (source / "train.json").write_text(json.dumps({**config, "dataset": "/data/doe_jane.json"}), encoding="utf-8")
    export_bundle(source, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*.json") if "doe_jane" in path.read_text(encoding="utf-8")]


def test_links_out_of_the_bundle_are_not_followed(tmp_path):
    source = shutil.copytree(BUNDLES / "cascade", tmp_path / "cascade")
    (tmp_path / "secret").write_text("key", encoding="utf-8")
    (source / "docs" / "folder").mkdir()
    (source / "docs" / "notes.md").symlink_to(source / "docs" / "README.md")
    assert export_bundle(source, tmp_path / "out")
    (source / "docs" / "more.md").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"more\.md: is a link to a file outside the bundle"):
        export_bundle(source, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_wrong_input_is_named_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r"inference\.json: no such file"):
        export_bundle(tmp_path, tmp_path / "out")
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="there: exists already"):
        export_bundle(BUNDLES / "cascade", tmp_path / "there")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot be made"):
        export_bundle(BUNDLES / "cascade", tmp_path / "file" / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]
    assert (export_bundle(BUNDLES / "landmarknet", tmp_path / "new" / "out")[0]).is_file()


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"lmk3d\[onnx\]"):
        export_bundle(BUNDLES / "cascade", tmp_path / "out", onnx=True)


def test_a_network_beyond_onnx_is_refused(tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x)

    with pytest.raises(InputError, match=r"odd\.onnx: ONNX cannot express"):
        export._write_network(
            Odd(), tmp_path / "odd.onnx", names=(["x"], ["y"]), axes={}, examples=[(torch.rand(3, 3),)] * 2
        )
