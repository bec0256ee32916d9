from __future__ import annotations

import json
import shutil

import pytest
import torch

from lmk3d.configure.shipped import SHIPPED
from lmk3d.errors import InputError
from lmk3d.inference import LandmarkDetector
from lmk3d.zoo import export_bundle, verify, verify_bundle

from .conftest import BUNDLES


@pytest.mark.parametrize("plan", SHIPPED, ids=lambda plan: plan.name)
def test_every_bundle_is_fit_for_the_zoo_and_loads(plan, exported):
    folder = exported(plan.name)
    assert verify_bundle(folder) == []
    assert LandmarkDetector.from_bundle(folder).names == tuple(plan.names)


def test_monai_itself_accepts_the_metadata_with_our_schema(exported):
    from monai.bundle import verify_metadata

    folder = exported("cascade")
    schema = folder.parent / "schema.json"
    shutil.copy(verify.__file__.replace("verify.py", "metadata.schema.json"), schema)
    verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(schema))


@pytest.fixture
def bundle(tmp_path):
    export_bundle(BUNDLES / "cascade", tmp_path / "cascade")
    return tmp_path / "cascade"


def change(bundle, **entries):
    path = bundle / "configs" / "metadata.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), **entries}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")


def test_all_problems_are_listed_at_once(bundle, monkeypatch):
    (bundle / "LICENSE").unlink()
    change(bundle, version="0.2.0", authors=None, task=7)
    monkeypatch.setattr(verify, "LARGE_BYTES", 1_000_000)
    problems = "\n".join(verify_bundle(bundle))
    for part in ("LICENSE: is not there", "models/model.pt: is larger", "'authors' is a required", "task: 7 is not of"):
        assert part in problems
    assert "changelog does not name version '0.2.0'" in problems


def test_a_listed_file_needs_a_place_to_be_fetched_from(bundle):
    (bundle / "large_files.yml").write_text('large_files:\n- path: "models/model.pt"\n  url: ""\n', encoding="utf-8")
    assert verify_bundle(bundle) == [
        'large_files.yml: an url is empty; upload the file and write where it lies (url: "https://...")'
    ]


@pytest.mark.parametrize(
    ("entry", "value", "problem"),
    [
        ("num_channels", 13, "output channel number `14` doesn't match: `13`"),
        ("dtype", "float16", "dtype of output data"),
        ("spatial_shape", [16, 16, 16], "spatial_shape is [16, 16, 16], the network's [32, 32, 48]"),
    ],
)
def test_a_network_that_gives_other_than_the_metadata_says_is_named(bundle, entry, value, problem):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    metadata["network_data_format"]["outputs"]["pred"][entry] = value
    change(bundle, **metadata)
    (found,) = verify_bundle(bundle)
    assert problem in found


def test_a_network_beyond_torchscript_is_named(bundle, monkeypatch):
    monkeypatch.setattr("lmk3d.networks.HeatmapUNet.forward", lambda self, x: self.with_sides(x)[-1])
    (found,) = verify_bundle(bundle)
    assert "does not go into TorchScript" in found


def test_weights_with_code_are_not_run(bundle):
    torch.save({"network": torch.nn.Linear(2, 2)}, bundle / "models" / "model.pt")
    (found,) = verify_bundle(bundle)
    assert "pickled code" in found


def test_broken_exports_are_named(bundle):
    (bundle / "models" / "model.ts").write_bytes(b"no archive")
    (bundle / "models" / "model.onnx").write_bytes(b"no network")
    script, onnx = verify_bundle(bundle)
    assert script.startswith("models/model.ts: does not load")
    assert onnx.startswith("models/model.onnx: ")


def test_a_name_that_monai_label_misunderstands_is_named(bundle):
    (found,) = verify_bundle(bundle.rename(bundle.with_name("aorta_detection")))
    assert "box detector" in found


def test_broken_files_are_problems_and_no_folder_is_an_error(bundle):
    (bundle / "configs" / "metadata.json").write_text("{", encoding="utf-8")
    (found,) = verify_bundle(bundle)
    assert "metadata.json" in found
    with pytest.raises(InputError, match="no such folder"):
        verify_bundle(bundle / "nowhere")
