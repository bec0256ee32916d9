"""The bundles of the project, in the zoo's layout and with weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from lmk3d.components import build, read_config
from lmk3d.zoo import export_bundle

if TYPE_CHECKING:
    from collections.abc import Callable

BUNDLES = Path(__file__).parent.parent.parent / "bundles"


def with_weights(name: str, folder: Path) -> Path:
    """A copy of a shipped bundle; where it ships none, its network's first weights, drawn from a seed, are put in."""
    target = shutil.copytree(BUNDLES / name, folder / name)
    if not (target / "models" / "model.pt").is_file():
        path, config = read_config(target, "inference.json")
        torch.manual_seed(0)
        network = build(config, "network_def", path)
        network.mean_shape.normal_(std=50)
        # Maps begin nearly flat, and chance would choose among voxels that are all but alike: make it plain.
        if name == "denseseg":
            config["codec"] |= {"neighbours": 1_000_000, "temperature": 3.0}
            torch.nn.init.constant_(network.heatmap.network.mask[-1].bias, 20.0)
        if name == "landmarknet":
            config["detector"]["min_presence"] = 0.0
            torch.nn.init.normal_(network.heatmap.network.head.weight)
            torch.nn.init.constant_(network.heatmap.network.head.bias, 1.0)
        path.write_text(json.dumps(config), encoding="utf-8")
        (target / "models").mkdir(exist_ok=True)
        torch.save(network.state_dict(), target / "models" / "model.pt")
    return target


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a bundle exported with TorchScript and, where onnxruntime is there, ONNX; each is made once."""
    made: dict[str, Path] = {}

    def export(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            source = with_weights(name, folder)
            (folder / "zoo").mkdir()
            made[name] = folder / "zoo" / name
            onnx = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed") is not None
            export_bundle(source, made[name], torchscript=True, onnx=onnx)
        return made[name]

    return export
