"""The real server of MONAI Label with the project's app, driven over HTTP as 3D Slicer does."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from lmk3d.components import build, default_bundle, read_config
from lmk3d.configure import LevelPlan, Plan, write_bundle
from lmk3d.configure.shipped import SHIPPED
from lmk3d.inference import LandmarkDetector
from lmk3d.io import read_image, read_points, write_image
from lmk3d.label.ranking import score_of, urgency
from lmk3d.prediction import predict_files
from lmk3d.synthetic import cta_phantom

from .conftest import PATIENCE_S, free_port, running

pytestmark = pytest.mark.slow


def tiny_bundle(folder):
    """A small bundle with its network's first weights."""
    plan = Plan(
        "tiny",
        "for tests",
        names=("left", "right", "top"),
        pairs=(("left", "right"),),
        low=0.0,
        high=600.0,
        spacing_mm=2.0,
        sides=(16, 16, 16),
        levels=(LevelPlan(1.0, 8, 1.0, (4, 4, 4), count=2),),
        channels=(4, 8),
        min_presence=0.0,
        epochs=2,
    )
    write_bundle(folder, plan)
    path, config = read_config(folder, "inference.json")
    torch.manual_seed(0)
    (folder / "models").mkdir()
    torch.save(build(config, "network_def", path).state_dict(), folder / "models" / "model.pt")
    return folder


@pytest.fixture(scope="module")
def server(label_python, tmp_path_factory, tiny_dataset):
    """A server on three tiny images and a phantom's heart, with all bundles of the project and a tiny one."""
    images = tmp_path_factory.mktemp("images")
    for number in range(3):
        shutil.copy(tiny_dataset.parent / f"{number}.nii.gz", images / f"tiny{number}.nii.gz")
    write_image(cta_phantom(900_001, spacing_mm=1.5, shape=(96, 96, 96)).volume, images / "heart.nii.gz")
    tiny = tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    port = free_port()
    words = ["label", str(images), "--port", str(port)]
    for bundle in (tiny, *(plan.name for plan in SHIPPED)):
        words += ["--bundle", str(bundle)]
    code = f"import sys; from lmk3d.cli import main; sys.exit(main({words!r}))"
    with running([label_python, "-c", code], port, images) as started:
        yield started


def test_every_bundle_of_the_project_loads(server):
    info = server.json("GET", "/info/")
    names = {"tiny", *(plan.name for plan in SHIPPED)}
    assert set(info["models"]) == set(info["trainers"]) == names
    assert set(info["strategies"]) == {f"{name}_trust" for name in names} | {"random"}
    assert list(info["models"]["cascade"]["labels"]) == list(SHIPPED[0].names)


def test_infer_gives_the_points_of_predict_and_a_label_map_over_them(server, tmp_path):
    image = server.images / "heart.nii.gz"
    (prediction,) = predict_files([image], default_bundle("cascade"), output=tmp_path)
    assert prediction.landmarks is not None
    markups, label_map = server.infer("cascade", "heart")
    (tmp_path / "served.mrk.json").write_text(json.dumps(markups), encoding="utf-8")
    served = read_points(tmp_path / "served.mrk.json")
    assert served.names == prediction.landmarks.names
    assert served.present.sum() >= 3
    np.testing.assert_allclose(served.points_mm, prediction.landmarks.points_mm, atol=0.01)
    np.testing.assert_allclose(
        read_points(server.images / "labels" / "original" / "heart.mrk.json").points_mm, served.points_mm
    )

    (tmp_path / "map.nii.gz").write_bytes(label_map)
    found, stored = nib.load(tmp_path / "map.nii.gz"), nib.load(image)
    assert found.shape == stored.shape
    np.testing.assert_allclose(found.affine, stored.affine, atol=1e-5)
    data, labels = np.asarray(found.dataobj), markups["label_names"]
    assert set(labels) == {name for name in served.names if len(served[name])}
    assert sorted(labels.values()) == sorted(set(np.unique(data)) - {0}) == list(range(1, len(labels) + 1))
    for name, label in labels.items():
        voxels = np.argwhere(data == label)
        middle = nib.affines.apply_affine(found.affine, voxels.mean(0))
        assert np.linalg.norm(middle - served[name][0]) < 1.5  # a voxel; a ball at the rim would be cut


def test_corrected_points_are_stored_and_unreadable_ones_refused(server, tiny_dataset, tmp_path):
    corrected = tiny_dataset.parent / "0.mrk.json"
    assert server.put_label("tiny0", corrected)["label"] == "tiny0"
    assert (server.images / "labels" / "final" / "tiny0.mrk.json").read_bytes() == corrected.read_bytes()
    (tmp_path / "broken.mrk.json").write_text("{", encoding="utf-8")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        server.put_label("tiny2", tmp_path / "broken.mrk.json")
    assert not (server.images / "labels" / "final" / "tiny2.mrk.json").exists()


def test_training_runs_and_the_next_prediction_uses_its_weights(server, tiny_dataset, tmp_path):
    def points():
        (tmp_path / "tiny.mrk.json").write_text(json.dumps(server.infer("tiny", "tiny2")[0]), encoding="utf-8")
        return read_points(tmp_path / "tiny.mrk.json").points_mm

    # One was put there over HTTP; the other one Slicer saves there itself.
    server.put_label("tiny0", tiny_dataset.parent / "0.mrk.json")
    shutil.copy(tiny_dataset.parent / "1.mrk.json", server.images / "labels" / "final" / "tiny1.mrk.json")
    before = points()
    assert server.json("POST", "/train/tiny", {"max_epochs": 2})["status"] in ("SUBMITTED", "RUNNING")
    server.wait("/train/", "RUNNING")
    task = server.wait("/train/", "DONE")
    assert '"epochs": 2' in "\n".join(task["details"])
    after = points()
    assert np.nanmax(np.abs(after - before)) > 0.1
    trained = LandmarkDetector.from_bundle(server.images / "lmk3d_label" / "model" / "tiny")
    expected = trained.detect(read_image(server.images / "tiny2.nii.gz"))
    np.testing.assert_allclose(after, expected.points_mm, atol=0.01)


def test_the_next_sample_is_the_one_that_is_trusted_least(server):
    server.wait("/scoring/", "DONE")
    server.json("POST", "/scoring/expected_error", {})
    server.wait("/scoring/", "DONE")
    detector = LandmarkDetector.from_bundle(default_bundle("cascade"))
    marked = {path.name.removesuffix(".mrk.json") for path in (server.images / "labels" / "final").glob("*.mrk.json")}
    files = {path.name.removesuffix(".nii.gz"): path for path in server.images.glob("*.nii.gz")}
    scores = {name: score_of(detector.detect(read_image(files[name]))) for name in sorted(set(files) - marked)}
    sample = server.json("POST", "/activelearning/cascade_trust", {})
    first = scores[sample["id"]]
    assert urgency(first) == max(map(urgency, scores.values()))
    known = first.error < np.inf and first.verdict in ("", "trusted")
    assert sample["weight"] == (pytest.approx(first.error, rel=1e-3) if known else None)
    assert Path(sample["path"]) == files[sample["id"]].resolve()


def test_pages_of_other_sites_are_refused_and_those_of_this_machine_are_not(server):
    assert json.loads(server.ask("GET", "/info/", Origin="http://localhost:3000")[0])["name"] == "lmk3d"
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            server.ask("GET", "/info/", **headers)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            server.ask("POST", "/train/tiny", b"{}", "text/plain", **headers)


def test_a_bundle_with_code_of_others_is_not_trained(server, tiny_dataset):
    path = server.images / "lmk3d_label" / "model" / "tiny" / "train.json"
    kept = path.read_text(encoding="utf-8")
    path.write_text(json.dumps({**json.loads(kept), "_desc_": "$print('ran')"}), encoding="utf-8")
    server.put_label("tiny0", tiny_dataset.parent / "0.mrk.json")
    server.json("POST", "/train/tiny", {"max_epochs": 1})
    end = time.monotonic() + PATIENCE_S
    while (task := server.json("GET", "/train/"))["status"] not in ("ERROR", "DONE") and time.monotonic() < end:
        time.sleep(0.2)
    path.write_text(kept, encoding="utf-8")
    assert task["status"] == "ERROR"
    assert "is code that lmk3d did not write" in "\n".join(task["details"])


def test_what_cannot_be_done_is_said_in_one_line(server):
    for path, part in (
        ("/infer/cascade?image=nobody", "no such image"),
        ("/infer/denseseg?image=heart", "films" if default_has_weights("denseseg") else "has no weights yet"),
    ):
        with pytest.raises(urllib.error.HTTPError) as raised:
            server.ask("POST", path)
        assert raised.value.code in (400, 404)
        assert part in json.loads(raised.value.read())["detail"]


def default_has_weights(name):
    return (default_bundle(name) / "models" / "model.pt").is_file()
