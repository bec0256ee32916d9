"""The folder that a training writes to: where it is, a bundle of its own, and one training at a time in it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lmk3d.components import build, hint, read_config
from lmk3d.errors import InputError
from lmk3d.io import atomic_path
from lmk3d.terminal import say
from lmk3d.training.checkpoints import rank
from lmk3d.weights import load_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

__all__ = ["OWN_ENTRIES", "agreed_inference", "begin_run", "bundle_root", "load_run", "one_line_errors", "run_folder"]

# Of a run these must stay as they are: weights of other settings are none to resume from.
_SAME = ("dataset", "phantoms", "names", "spacing_mm", "sides", "window", "codec", "levels", "network_def")
# What goes on top of train.json for a command, and is no part of what a run is.
_FOR_A_COMMAND = ("evaluate.json", "multi_gpu_train.json")
# Arguments of MONAI's command itself.
_MONAIS = {"run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"}
OWN_ENTRIES = ("imports", "bundle_root", "device", "network", "dataset", "run", "initialize")
"""What train.json and inference.json each have of their own."""


def _command() -> tuple[list[Path], dict[str, str]]:
    """The configuration files and the other arguments of ``python -m monai.bundle run``; none in another command."""
    given: dict[str, str] = {}
    words = sys.argv[1:]
    for index, word in enumerate(words):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            given[name.replace("-", "_")] = value if equals else "".join(words[index + 1 : index + 2])
    files = given.get("config_file", "").strip("[]()").split(",")
    return [Path(file.strip("'\" ")) for file in files if file.strip("'\" ")], given


def bundle_root() -> str:
    """The folder of the bundle that ``python -m monai.bundle run --config_file ...`` runs, else the current one."""
    files, _ = _command()
    if not files:
        return str(Path.cwd())
    folder = files[0].resolve().parent
    return str(folder.parent if folder.name == "configs" else folder)


def run_folder(kind: str) -> str:
    """Where a shipped bundle's trainings go: runs/KIND in its folder, which is no part of the repository.

    Where that cannot be written, as in an installed package, it is runs/BUNDLE/KIND in the current folder.

    Args:
        kind: "training", or "paper" for one with that file's settings.
    """
    bundle = Path(bundle_root())
    nearest = bundle / "runs" if (bundle / "runs").is_dir() else bundle
    home = bundle / "runs" if os.access(nearest, os.W_OK) else Path.cwd() / "runs" / bundle.name
    return str(home / kind)


def begin_run(folder: str) -> _Lock | None:
    """Say where a training goes, see that no other runs there, and make the folder a bundle of its own.

    With MONAI's command the folder gets the run's settings as train.json, and the inference.json and metadata.json that
    go with them, so that ``lmk3d predict --bundle FOLDER`` uses its weights. Failures of that command end in one line.

    Args:
        folder: of the run.
    Returns:
        What keeps the folder locked as long as it lives; None in the second and later processes of one training.
    Raises:
        InputError: if it cannot be written, another training runs in it, or it holds one with other settings.
    """
    one_line_errors()
    if rank():
        return None
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made ({error.strerror}); give --bundle_root FOLDER") from error
    lock = _Lock(path)
    for part in (*path.glob(".*.part"), *path.glob("models/.*.part")):  # of a run that was killed as it wrote
        shutil.rmtree(part, ignore_errors=True)
    files, given = _command()
    if files and path.resolve() != Path(bundle_root()).resolve():
        _write_bundle(path, files, given)
    say(f"training in {path}")
    return lock


class _Lock:
    """One training at a time in a folder; the operating system releases it with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        try:
            number = os.open(folder / ".training.lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(
                f"{folder}: cannot be written ({error.strerror}); train into another folder: --bundle_root FOLDER"
            ) from error
        self._closed = weakref.finalize(self, os.close, number)
        try:
            _lock_file(number)
        except (BlockingIOError, PermissionError):
            self._closed()
            raise InputError(
                f"{folder}: another training runs in this folder; wait for its end, or train into another one"
            ) from None
        except OSError:  # a file system without locks
            return


def _lock_file(number: int) -> None:
    """Lock an open file, for this process, at once or not at all."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write_bundle(folder: Path, files: Sequence[Path], given: Mapping[str, str]) -> None:
    """Make a run's folder a bundle: its own settings, and beside them what the bundle it came from has."""
    source, config = Path(bundle_root()), _settings(files, given)
    _check_settings(folder, config)
    train, before = {**config, "bundle_root": "$lmk3d.training.bundle_root()"}, read_config(source, "inference.json")
    inference, metadata = agreed_inference(train, before[1]), read_config(source, "metadata.json")[1]
    if any(inference[name] != before[1].get(name) for name in ("sides", "network_def")):
        _describe(metadata["network_data_format"], inference, before[0])
    if config["dataset"]:  # a warning of phantoms is then no longer true
        metadata = {**metadata, "data_source": "a data set of one's own"}
        metadata.pop("warning", None)
    written = {"train.json": train, "inference.json": inference, "metadata.json": metadata}
    for name, content in written.items():
        with atomic_path(folder / name) as path:
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for name in (*_FOR_A_COMMAND, "LICENSE", "logging.conf"):
        beside = (source / name, source / "configs" / name)
        for found in [path for path in beside if path.is_file()]:
            shutil.copy(found, folder / name)


def _describe(formats: dict[str, Any], inference: dict[str, Any], path: Path) -> None:
    """Write into metadata what a changed network takes and gives."""
    network = build(inference, "network_def", path).eval()
    block, sides = int(network.heatmap.divisor), inference["sides"]
    given = [2 * block if side > 1 else 1 for side in sides]  # small: only channels and stride are of interest
    with torch.inference_mode():
        maps = network(torch.zeros(1, 1, *given))
    stride = given[0] // maps.shape[2]
    formats["inputs"]["image"]["spatial_shape"] = list(sides)
    formats["outputs"]["pred"] |= {
        "num_channels": maps.shape[1],
        "spatial_shape": [max(1, side // stride) for side in sides],
    }


def _settings(files: Sequence[Path], given: Mapping[str, str]) -> dict[str, Any]:
    """train.json as MONAI's command runs it: with the files and the values that go on top."""
    from fire.parser import DefaultParseValue
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(file) for file in files if file.name not in _FOR_A_COMMAND])
    for name, value in given.items():
        if name in _MONAIS:
            continue
        if name.replace("::", "#").split("#")[0] not in parser.get():
            raise InputError(f"--{name}: {files[0]} has no such entry; {hint(name, parser.get())}")
        parser[name] = DefaultParseValue(value)
    config: dict[str, Any] = parser.get()
    config["dataset"] = str(Path(config["dataset"]).resolve()) if config["dataset"] else ""
    return config


def _check_settings(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse to train in a folder that holds weights of other settings."""
    kept = next((name for name in ("last.pt", "model.pt") if (folder / "models" / name).is_file()), None)
    if kept is None or not (folder / "train.json").is_file():
        return
    before = read_config(folder, "train.json")[1]
    if other := [name for name in _SAME if before.get(name) != config.get(name)]:
        raise InputError(
            f"{folder}: holds a training with another {', '.join(other)}; give another folder with --bundle_root "
            "FOLDER, or remove this one"
        )


def agreed_inference(train: Mapping[str, Any], inference: Mapping[str, Any]) -> dict[str, Any]:
    """inference.json with what prediction shares with train.json."""
    shared = {name: train[name] for name in inference if name in train and name not in OWN_ENTRIES}
    detector = {name: value for name, value in train["detector"].items() if name != "device"}
    return {**inference, **shared, "detector": {**detector, "network": "@network_def"}}


def load_run(network: torch.nn.Module, folder: str) -> None:
    """Load the weights of a run, or those that its bundle ships where there is none yet; say which.

    Raises:
        InputError: if there are neither, or they do not fit.
    """
    own, shipped = Path(folder) / "models" / "model.pt", Path(bundle_root()) / "models" / "model.pt"
    path = own if own.is_file() or not shipped.is_file() else shipped
    say(f"evaluating {path}" + ("" if path == own else f", the shipped weights: nothing is trained in {folder}"))
    load_weights(network, path)


def one_line_errors() -> None:
    """Let MONAI's command end in one line where the user can mend what is wrong, or stopped it; elsewhere nothing."""
    if Path(sys.argv[0]).parts[-3:] != ("monai", "bundle", "__main__.py"):
        return
    sys.excepthook = _one_line
    for name in ("ignite", "monai"):  # which would print the same before, and where in their code it was
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what the user should know of a failure, and end with the shell's exit code."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, InputError | KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        sys.__excepthook__(kind, error, trace)
        return
    wrong = isinstance(cause, InputError)
    text = " ".join(str(cause).split()) or "stopped before the first step"
    say(f"lmk3d: error: {text}" if wrong else f"lmk3d: {text}", file=sys.stderr)
    raise SystemExit(2 if wrong else 130)
