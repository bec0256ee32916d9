from __future__ import annotations

import json
import shutil
from contextlib import suppress

import pytest
import torch

from lmk3d.components import read_config
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
        ("num_channels", 13, "num_channels is 13, the network's 14"),
        ("dtype", "float16", "dtype is float16, the network's float32"),
        ("channel_def", {"0": "right_coronary_ostium"}, "channel_def must be 0: background and the names from 1 on"),
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


def test_a_script_is_never_loaded(bundle, monkeypatch):
    class Dangerous(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    torch.jit.save(torch.jit.script(Dangerous()), str(bundle / "models" / "model.ts"))
    monkeypatch.setattr(torch.jit, "load", lambda *words: pytest.fail("loaded"))
    assert verify_bundle(bundle) == []


def with_config(bundle, **entries):
    path = bundle / "configs" / "inference.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **entries}), encoding="utf-8")


@pytest.mark.parametrize(
    "entries",
    [
        {"network_def": {"_target_": "lmk3d.networks.Cascade", "_desc_": "$__import__('os').mkdir({path!r})"}},
        {"imports": ["$__import__('os').mkdir({path!r})"]},
        {"names": {"_desc_": "$__import__('os').mkdir({path!r})", "0": "a"}},
        {"device": "$__import__('os').mkdir({path!r})"},
    ],
)
def test_no_expression_of_the_bundle_is_run(bundle, tmp_path, entries):
    hostile = json.loads(json.dumps(entries).replace("{path!r}", f"'{tmp_path / 'ran'}'"))
    if "network_def" in hostile:
        hostile["network_def"] |= read_config(bundle, "inference.json")[1]["network_def"]
    with_config(bundle, **hostile)
    for action in (
        lambda: verify_bundle(bundle),
        lambda: LandmarkDetector.from_bundle(bundle),
        lambda: export_bundle(bundle, tmp_path / "out", torchscript=True),
    ):
        with suppress(InputError):
            action()
        assert not (tmp_path / "ran").exists()
    from monai.bundle import verify_net_in_out  # which does

    metadata, config = (str(bundle / "configs" / name) for name in ("metadata.json", "inference.json"))
    if "network_def" in entries:
        with suppress(Exception):
            verify_net_in_out(net_id="network_def", meta_file=metadata, config_file=config, device="cpu")
        assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("sides", "text"),
    [([4096, 4096, 4096], "4194304 voxels at most"), (["*", 32, 32], "must be whole numbers"), ([33, 32, 32], "32")],
)
def test_sides_that_cannot_be_tried_are_named(bundle, sides, text):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = sides
    change(bundle, **metadata)
    (found,) = verify_bundle(bundle)
    assert text in found


def test_a_network_without_measure_is_named_before_it_takes_memory(bundle):
    wide = {"_target_": "lmk3d.networks.HeatmapUNet", "num_outputs": 14, "channels": [8, 5_000_000]}
    network = {"_target_": "lmk3d.networks.Cascade", "heatmap": wide, "refiners": [], "num_landmarks": 14}
    with_config(bundle, network_def=network, levels=[])
    (found,) = verify_bundle(bundle)
    assert "the network is too large at 'weight'" in found
    (bundle / "models" / "model.pt").unlink()
    with_config(bundle, network_def={**network, "heatmap": {**wide, "channels": [400, 8], "stride": 1}})
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = [128, 128, 128]
    change(bundle, **metadata)
    found = "\n".join(verify_bundle(bundle))
    assert "maps take more memory" in found


def test_weights_with_code_are_not_run(bundle):
    torch.save({"network": torch.nn.Linear(2, 2)}, bundle / "models" / "model.pt")
    (found,) = verify_bundle(bundle)
    assert "pickled code" in found


def test_broken_exports_are_named(bundle):
    (bundle / "models" / "model.ts").write_bytes(b"no archive")
    (bundle / "models" / "model.onnx").write_bytes(b"no network")
    script, onnx = verify_bundle(bundle)
    assert script == "models/model.ts: is no TorchScript; export the bundle again"
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
