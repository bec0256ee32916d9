"""A bundle as MONAI's model zoo lays it out, with its networks as TorchScript and ONNX on request."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lmk3d.components import read_config
from lmk3d.errors import InputError
from lmk3d.inference import LandmarkDetector
from lmk3d.manifest import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

__all__ = ["LARGE_BYTES", "export_bundle", "quiet"]

LARGE_BYTES = 25_000_000
"""The zoo keeps no larger file in its repository."""

_MOST_VOXELS = 2**22  # of the images that an export is tried with
_TOLERANCE = 1e-3  # of the largest number: ten times the rounding of another library, far below what moves a point


def export_bundle(source: Path, target: Path, *, torchscript: bool = False, onnx: bool = False) -> list[Path]:
    """Write a bundle in the zoo's layout: configs/, models/, docs/, LICENSE, large_files.yml where a file needs it.

    Args:
        source: the bundle, in its own layout or the zoo's.
        target: the new folder; it appears whole or not at all.
        torchscript: also write models/model.ts, the whole network with all its submodules.
        onnx: also write models/model.onnx, the first stage, and models/refiner_1.onnx and so on. A network whose sizes
            cannot be left open is written for those of its training.
    Returns:
        The files written.
    Raises:
        InputError: if the source is no bundle, the target exists, or what an export needs is missing.
    """
    read_config(source, "inference.json")
    if target.exists():
        raise InputError(f"{target}: exists already; choose another folder, or remove it first")
    if (torchscript or onnx) and not (source / "models" / "model.pt").is_file():
        raise InputError(f"{source / 'models' / 'model.pt'}: no such file; train the bundle before its export")
    if onnx and (lacking := [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]):
        raise InputError(f"--onnx: the package {lacking[0]} is not installed; run pip install 'lmk3d[onnx]'")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{target.parent}: cannot be made ({error.strerror}); choose another folder") from None
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=target.parent) as staging:
        folder = Path(staging) / target.name
        _copy(source, folder)
        if torchscript:
            _write_torchscript(folder)
        if onnx:
            _write_onnx(folder)
        _list_large_files(folder)
        folder.rename(target)
    return sorted(path for path in target.rglob("*") if path.is_file())


@contextmanager
def quiet() -> Iterator[None]:
    """No word of torch's about the heir of TorchScript, which the zoo asks for, or sizes that become constants."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _copy(source: Path, folder: Path) -> None:
    configs = source / "configs" if (source / "configs").is_dir() else source
    for name in ("configs", "models", "docs"):
        (folder / name).mkdir(parents=True)
    for path in sorted([*configs.glob("*.json"), *configs.glob("*.yaml"), *configs.glob("logging.conf")]):
        _copy_file(path, folder / "configs", source)
    train = folder / "configs" / "train.json"
    if train.is_file():  # where its data lie is nobody else's business, and may name a patient
        config = {**read_config(folder, "train.json")[1], "dataset": ""}
        train.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for path in sorted((source / "docs").glob("*")):
        _copy_file(path, folder / "docs", source)
    for name in ("LICENSE", "models/model.pt", "models/calibration.json"):
        _copy_file(source / name, (folder / name).parent, source)


def _copy_file(path: Path, folder: Path, source: Path) -> None:
    """Copy a file of the bundle, if it is there.

    Raises:
        InputError: if it is a link out of the bundle, to what its sender has no business with.
    """
    if not path.is_file():
        return
    if not path.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{path}: is a link to a file outside the bundle; put the file itself there")
    shutil.copy(path, folder)


def _write_torchscript(folder: Path) -> None:
    """What the zoo's own check makes of the weights: metadata and configuration travel inside the file."""
    detector = LandmarkDetector.from_bundle(folder)
    inside = {f"{name}.json": json.dumps(read_config(folder, f"{name}.json")[1]) for name in ("metadata", "inference")}
    with quiet():
        torch.jit.save(torch.jit.script(detector.network), str(folder / "models" / "model.ts"), inside)


def _write_onnx(folder: Path) -> None:
    detector = LandmarkDetector.from_bundle(folder)
    sides = detector.sides.tolist()
    if math.prod(sides) > _MOST_VOXELS:
        raise InputError(f"{folder.name}: sides {sides} are too large to be tried; export without --onnx")
    flat = detector.network.flat
    divisor: Any = detector.network.heatmap.divisor
    axes = {0: "batch", 2: "i", 3: "j", **({} if flat else {4: "k"})}
    larger = [side if flat and axis == 2 else side + divisor * (2 - axis % 2) for axis, side in enumerate(sides)]
    _write_network(
        detector.network,
        folder / "models" / "model.onnx",
        names=(["image"], ["pred"]),
        axes={"image": axes},
        examples=[(torch.rand(1, 1, *sides),), (torch.rand(2, 1, *larger),)],
    )
    count = len(detector.names)
    for number, (level, refiner) in enumerate(zip(detector.levels, detector.network.refiners, strict=True), start=1):
        patch = [level.size, level.size, 1 if flat else level.size]
        _write_network(
            refiner,
            folder / "models" / f"refiner_{number}.onnx",
            names=(["patches", "landmarks"], ["moves", "log_variance"]),
            axes={"patches": {0: "patch"}, "landmarks": {0: "patch"}},
            examples=[(torch.rand(some, 1, *patch), torch.arange(some) % count) for some in (3, 5)],
        )


def _write_network(
    network: nn.Module,
    path: Path,
    *,
    names: tuple[list[str], list[str]],
    axes: dict[str, dict[int, str]],
    examples: Sequence[tuple[Tensor, ...]],
) -> None:
    """Write one network with open sizes; where ONNX cannot express it, or says other things, with fixed ones.

    Raises:
        InputError: if it cannot be written with fixed sizes either.
    """
    for open_axes in (axes, {}):
        with quiet():  # about sizes that become constants: whether they may is tried right below
            try:
                torch.onnx.export(
                    network,
                    examples[0],
                    str(path),
                    input_names=names[0],
                    output_names=names[1],
                    dynamic_axes=open_axes,
                    dynamo=False,  # its heir takes 20 times as long and bakes sizes in without a word
                )
            except (torch.onnx.errors.OnnxExporterError, RuntimeError):
                continue
        if all(_agrees(network, path, inputs) for inputs in (examples if open_axes else examples[:1])):
            return
    raise InputError(f"{path.name}: ONNX cannot express this network; export without --onnx")


def _agrees(network: nn.Module, path: Path, inputs: tuple[Tensor, ...]) -> bool:
    """Whether the file says what the network says."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = network(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    fed = {given.name: value.numpy() for given, value in zip(session.get_inputs(), inputs, strict=True)}
    try:
        outputs = session.run(None, fed)
    except Exception:  # of its own kinds, for sizes it does not take
        return False
    return all(
        output.shape == tuple(wanted.shape)
        and float(abs(wanted.numpy() - output).max()) <= _TOLERANCE * float(wanted.abs().max())
        for output, wanted in zip(outputs, expected, strict=True)
    )


def _list_large_files(folder: Path) -> None:
    """Name what the zoo fetches instead of keeping; where it will lie only the one who uploads it can say."""
    large = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size > LARGE_BYTES]
    if large:
        lines = ["large_files:"]
        for path in large:
            lines += [f'- path: "{path.relative_to(folder).as_posix()}"', '  url: ""']
            lines += [f'  hash_val: "{sha256(path)}"', '  hash_type: "sha256"']
        (folder / "large_files.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")
