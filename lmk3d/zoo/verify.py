"""Everything that MONAI's ``verify_metadata`` and the model zoo's ``verify_bundle`` check, offline and all at once."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmk3d.components import build, read_config
from lmk3d.errors import InputError
from lmk3d.inference import LandmarkDetector
from lmk3d.io.text import read_json
from lmk3d.zoo.export import LARGE_BYTES, quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["verify_bundle"]

_NEEDED = ("configs/metadata.json", "configs/inference.json", "LICENSE", "models/model.pt")


def verify_bundle(folder: Path) -> list[str]:
    """All problems of a bundle in the zoo's layout; none means that the zoo would take it.

    Files that must be there and no other of more than 25 MB, the metadata against the schema of its specification, a
    changelog that names the version, weights that fit, a network that takes and gives what the metadata says and goes
    into TorchScript, exports that load. The zoo also asks whether the version was used before, which its repository
    alone knows.

    Args:
        folder: as ``export_bundle`` writes it.
    Returns:
        One line for each problem: the file, what is wrong and what to do.
    Raises:
        InputError: if there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that lmk3d bundle export wrote")
    problems = [*_files(folder), *_large(folder)]
    metadata: Any = {}
    try:
        if (folder / "configs" / "metadata.json").is_file():
            metadata = read_json(folder / "configs" / "metadata.json")
            described = list(_metadata(metadata, folder.resolve().name))
            problems += described
            if not described and (folder / "configs" / "inference.json").is_file():
                problems += _network(folder, metadata["network_data_format"])
    except InputError as error:
        problems.append(str(error))
    return problems


def _files(folder: Path) -> Iterator[str]:
    for name in _NEEDED:
        if not (folder / name).is_file():
            todo = {"LICENSE": "put the licence of the weights there", "models/model.pt": "train the bundle"}
            yield f"{name}: is not there; {todo.get(name, 'export the bundle again')}"


def _large(folder: Path) -> Iterator[str]:
    lists = [path for path in sorted(folder.glob("large_files.*")) if path.suffix in (".yml", ".yaml", ".json")]
    listed = "".join(path.read_text(encoding="utf-8") for path in lists)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.stat().st_size > LARGE_BYTES and f'"{name}"' not in listed:
            yield f"{name}: is larger than 25 MB and not listed in large_files.yml; list it there"
    if 'url: ""' in listed:
        yield f'{lists[0].name}: an url is empty; upload the file and write where it lies (url: "https://...")'


def _metadata(metadata: Any, name: str) -> Iterator[str]:
    from jsonschema import Draft7Validator

    schema = json.loads(Path(__file__).with_name("metadata.schema.json").read_text(encoding="utf-8"))
    for error in sorted(Draft7Validator(schema).iter_errors(metadata), key=lambda error: list(map(str, error.path))):
        where = "#".join(str(part) for part in error.path)
        yield f"configs/metadata.json: {where + ': ' if where else ''}{error.message}"
    if isinstance(metadata, dict) and metadata.get("version") not in dict(metadata.get("changelog") or {}):
        yield f"configs/metadata.json: changelog does not name version {metadata.get('version')!r}; add what changed"
    if "detection" in name:
        yield f"{name}: MONAI Label takes a bundle with 'detection' in its name for a box detector; rename the folder"


def _network(folder: Path, formats: dict[str, Any]) -> Iterator[str]:
    """The network as the zoo tries it, with MONAI's own functions; only what ``lmk3d`` may build is built at all."""
    from monai.bundle import ckpt_export, verify_net_in_out

    path, config = read_config(folder, "inference.json")
    weights = folder / "models" / "model.pt"
    if weights.is_file():
        LandmarkDetector.from_bundle(folder)
    network = build(config, "network_def", path).eval()
    files = {"meta_file": str(folder / "configs" / "metadata.json"), "config_file": str(path)}
    with quiet(), tempfile.TemporaryDirectory() as scratch:
        try:
            verify_net_in_out(net_id="network_def", device="cpu", **files)
            yield from _shape(network, formats)
        except Exception as error:  # of whatever kind a network fails with
            yield f"configs/metadata.json: the network does not keep to network_data_format: {_line(error)}"
        if not weights.is_file():
            return
        try:
            target = str(Path(scratch) / "model.ts")
            ckpt_export(net_id="network_def", filepath=target, ckpt_file=str(weights), **files)
        except Exception as error:
            yield f"configs/inference.json: the network does not go into TorchScript: {_line(error)}"
        yield from _exports(folder)


def _shape(network: Any, formats: dict[str, Any]) -> Iterator[str]:
    """What MONAI leaves out: that the maps have the size that the metadata says."""
    import torch

    given, wanted = (next(iter(formats[side].values())) for side in ("inputs", "outputs"))
    sides = [*given["spatial_shape"], *wanted["spatial_shape"]]
    if all(isinstance(side, int) for side in sides):
        with torch.inference_mode():
            shape = list(network(torch.rand(1, given["num_channels"], *given["spatial_shape"])).shape[2:])
        if shape != wanted["spatial_shape"]:
            yield f"configs/metadata.json: outputs: spatial_shape is {wanted['spatial_shape']}, the network's {shape}"


def _exports(folder: Path) -> Iterator[str]:
    import torch

    for path in sorted((folder / "models").glob("*.ts")):
        try:
            torch.jit.load(str(path))
        except RuntimeError as error:
            yield f"models/{path.name}: does not load ({_line(error)}); export the bundle again"
    for path in sorted((folder / "models").glob("*.onnx")):
        try:
            import onnx

            onnx.checker.check_model(str(path))
        except ImportError:
            yield f"models/{path.name}: was not tried, the package onnx is missing; run pip install 'lmk3d[onnx]'"
        except Exception as error:  # of onnx's own kinds
            yield f"models/{path.name}: is no ONNX network ({_line(error)}); export the bundle again"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
