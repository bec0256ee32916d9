"""Weights from files, tensors only, and the device they are put on."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TypeVar

import torch

from lmk3d.errors import InputError
from lmk3d.terminal import counted

__all__ = ["begun_with", "find_device", "load_weights", "quick_bfloat16"]

Network = TypeVar("Network", bound=torch.nn.Module)


def quick_bfloat16(device: torch.device) -> bool:
    """Whether a training there is quicker in bfloat16: on processors that compute in it; a GPU has ``amp`` instead."""
    return device.type == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Load a checkpoint of tensors only, never code.

    Raises:
        InputError: if the file is missing or corrupt, holds pickled code, or does not fit the network.
    """
    _fill(network, _read_state(path), path)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a checkpoint."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickles that are refused anyway
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; train the bundle first") from error
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file you may read") from error
    except Exception as error:  # torch.load raises many kinds: pickle, zip, key, end of file
        code = re.search(r"\bGLOBAL\b", str(error))
        reason = "holds pickled code, which is never run" if code else "is corrupt, or no checkpoint at all"
        raise InputError(f"{path}: {reason}; give a checkpoint of tensors, as training writes it") from error
    state = state.get("network", state) if isinstance(state, dict) else {"": state}
    if not all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()):
        raise InputError(f"{path}: holds no weights; give a checkpoint as training writes it")
    if not all(bool(value.isfinite().all()) for value in state.values()):
        raise InputError(f"{path}: holds weights that are NaN or infinite; its training has failed, train again")
    return state


def _fill(network: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = (str(error).splitlines()[1:] or [str(error)])[0].strip()
        raise InputError(f"{path}: does not fit the network of its bundle's configuration: {reason[:200]}") from error


def begun_with(network: Network, weights: str) -> Network:
    """The network, with the weights of an earlier training to begin with.

    What a cascade keeps beside its networks' weights, such as a tree, may be in the file or not: it is learnt anew.

    Args:
        network: as it was just made.
        weights: path of a model.pt for this network; "" leaves it as it is.
    Raises:
        InputError: if the file is missing or corrupt, or does not fit.
    """
    if weights:
        state, own = _read_state(Path(weights)), network.state_dict()
        kept = {name: own[name] for name, _ in network.named_buffers() if name in own}
        _fill(
            network, kept | {name: value for name, value in state.items() if name in own or "." in name}, Path(weights)
        )
    return network


def find_device(name: str) -> torch.device:
    """The device of that name; for "auto" a CUDA device where there is one, else the CPU.

    Raises:
        InputError: if there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise InputError(f"unknown device {name!r}; use cpu, cuda, cuda:1 or mps")
    device, count = torch.device(name), torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = torch.backends.mps.is_available() if name == "mps" else name == "cpu" or (device.index or 0) < count
    if not there:
        raise InputError(f"device {name!r} is not there ({counted(count, 'CUDA device')} found); use cpu")
    return device
