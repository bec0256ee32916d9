"""What MONAI's ``verify_metadata`` and the model zoo's ``verify_bundle`` check, offline, at once, running no code."""

from __future__ import annotations

import json
import math
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lmk3d.components import build, read_config
from lmk3d.errors import InputError
from lmk3d.inference import LandmarkDetector
from lmk3d.io.text import read_json, read_text
from lmk3d.landmarks import channel_def
from lmk3d.networks import Cascade
from lmk3d.weights import modest_maps, modest_networks
from lmk3d.zoo.export import LARGE_BYTES, quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["verify_bundle"]

_MOST_VOXELS = 2**22  # of the image that is tried; those of the training have a tenth
_NEEDED = ("configs/metadata.json", "configs/inference.json", "LICENSE", "models/model.pt")


def verify_bundle(folder: Path) -> list[str]:
    """All problems of a bundle in the zoo's layout; none means that the zoo would take it.

    Files that must be there and no other of more than 25 MB, the metadata against the schema of its specification, a
    changelog that names the version, weights that fit, a network that takes and gives what the metadata says and goes
    into TorchScript, labels as MONAI Label reads them. Nothing of the bundle is run but the networks of this package
    that it names. The zoo also asks whether the version was used before, which its repository
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
    problems = list(_files(folder))
    metadata: Any = {}
    try:
        problems += _large(folder)
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
    listed = "".join(read_text(path) for path in lists)
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
        yield f"configs/metadata.json: {where + ': ' if where else ''}{_line(error.message)}"
    known = metadata.get("changelog") if isinstance(metadata, dict) else None
    version = str(metadata.get("version")) if isinstance(metadata, dict) else ""
    if not isinstance(known, dict) or version not in known:
        yield f"configs/metadata.json: changelog does not name version {version[:40]!r}; add what changed"
    if "detection" in name:
        yield f"{name}: MONAI Label takes a bundle with 'detection' in its name for a box detector; rename the folder"


def _network(folder: Path, formats: dict[str, Any]) -> Iterator[str]:
    """The network as the zoo tries it: what it takes and gives, and whether it goes into TorchScript.

    MONAI's own ``verify_net_in_out`` and ``ckpt_export`` run every expression that the configuration holds; here the
    files are data, and only components are built.
    """
    if (folder / "models" / "model.pt").is_file():
        network = LandmarkDetector.from_bundle(folder).network
    else:
        path, config = read_config(folder, "inference.json")
        with modest_networks():
            network = build(config, "network_def", path)
        if not isinstance(network, Cascade):
            yield f"configs/{path.name}: network_def is no lmk3d.networks.Cascade; export the bundle again"
            return
        network.eval()
    try:
        yield from _formats(network, formats)
    except Exception as error:  # of whatever kind a network fails with
        yield f"configs/metadata.json: the network does not keep to network_data_format: {_line(error)}"
    yield from _labels(folder, formats)
    try:
        with quiet():
            torch.jit.script(network)
    except Exception as error:
        yield f"configs/inference.json: the network does not go into TorchScript: {_line(error)}"
    yield from _exports(folder)


def _formats(network: Cascade, formats: dict[str, Any]) -> Iterator[str]:
    """Whether one image of the metadata's format gives maps of the metadata's format."""
    given, wanted = (next(iter(formats[side].values())) for side in ("inputs", "outputs"))
    sides = given["spatial_shape"]
    if not all(isinstance(side, int) and side > 0 for side in sides) or math.prod(sides) > _MOST_VOXELS:
        yield f"configs/metadata.json: inputs: spatial_shape must be whole numbers, {_MOST_VOXELS} voxels at most"
        return
    with modest_maps(), torch.inference_mode():
        maps = network(torch.rand(1, given["num_channels"], *sides, dtype=getattr(torch, given["dtype"])))
    said = [("num_channels", maps.shape[1]), ("dtype", str(maps.dtype).removeprefix("torch."))]
    for key, value in [*said, ("spatial_shape", list(maps.shape[2:]))]:
        if wanted[key] != value:
            yield f"configs/metadata.json: outputs: {key} is {_line(wanted[key])}, the network's {value}"


def _labels(folder: Path, formats: dict[str, Any]) -> Iterator[str]:
    """What MONAI Label makes of the label map: 0 is no landmark, the names follow."""
    path, config = read_config(folder, "inference.json")
    wanted = channel_def(build(config, "names", path))
    if next(iter(formats["outputs"].values())).get("channel_def") != wanted:
        yield "configs/metadata.json: outputs: channel_def must be 0: background and the names from 1 on"


def _exports(folder: Path) -> Iterator[str]:
    """Exports that are none. A TorchScript archive is not loaded: it may hold code that runs when it is."""
    for path in sorted((folder / "models").glob("*.ts")):
        if not zipfile.is_zipfile(path) or not any(name.endswith("/constants.pkl") for name in _members(path)):
            yield f"models/{path.name}: is no TorchScript; export the bundle again"
    for path in sorted((folder / "models").glob("*.onnx")):
        try:
            import onnx

            onnx.checker.check_model(str(path))
        except ImportError:
            yield f"models/{path.name}: was not tried, the package onnx is missing; run pip install 'lmk3d[onnx]'"
        except Exception as error:  # of onnx's own kinds
            yield f"models/{path.name}: is no ONNX network ({_line(error)}); export the bundle again"


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError):
        return []


def _line(said: object) -> str:
    return " ".join(str(said).split())[:200]
