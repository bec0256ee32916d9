"""Weights from files, tensors only, and the device they are put on."""

from __future__ import annotations

import math
import pickletools
import re
import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_forward_pre_hook,
    register_module_parameter_registration_hook,
)

from lmk3d.errors import InputError
from lmk3d.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ERROR_RATIO",
    "begun_with",
    "find_device",
    "load_weights",
    "modest_maps",
    "modest_networks",
    "quick_bfloat16",
]

ERROR_RATIO = "error_ratio"
"""The one number of a checkpoint that may be NaN: no validation has said how large errors are to be expected."""

_NEVER_CALIBRATED = 3.0  # what earlier versions kept there until a validation had said it
_LARGEST_PICKLE = 2**22  # bytes of names and shapes; the largest here has a hundredth
# What torch.save writes of plain tensors.
_PLAIN = re.compile(
    r"collections OrderedDict|torch (?!Untyped|Typed)\w+Storage|torch\._utils _rebuild_(tensor_v2|parameter)"
)
_LEAVES = ("PUT", "MARK", "SETITEM", "SETITEMS", "APPEND", "APPENDS", "BUILD")  # what pushes nothing onto the stack
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_MOST_MAP_BYTES = 2**27
_MOST_BYTES, _MOST_TENSORS = 2**29, 50_000  # of a network; the largest here has a tenth of either

Network = TypeVar("Network", bound=torch.nn.Module)


def quick_bfloat16(device: torch.device | str) -> bool:
    """Whether a training there is quicker in bfloat16: on processors that compute in it; a GPU has ``amp`` instead."""
    return torch.device(device).type == "cpu" and bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


@contextmanager
def modest_networks() -> Iterator[None]:
    """Within the block a network of more than half a gigabyte of weights is refused before its memory is touched.

    Raises:
        InputError: as soon as one parameter, or one tensor, too many is made.
    """
    made = [0, 0]

    def weigh(_module: torch.nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        if tensor is not None:
            made[0], made[1] = made[0] + tensor.nbytes, made[1] + 1
            if made[0] > _MOST_BYTES or made[1] > _MOST_TENSORS:
                raise InputError(f"the network is too large at {name!r}; no bundle has half a gigabyte of weights")

    hooks = [register_module_parameter_registration_hook(weigh), register_module_buffer_registration_hook(weigh)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def modest_maps() -> Iterator[None]:
    """Within the block a network whose maps would take more than 128 MB in one layer is refused before they do.

    Raises:
        InputError: at the first convolution of that size.
    """

    def weigh(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, _ConvNd):
            grown = math.prod(module.stride) if module.transposed else 1
            if 4 * module.out_channels * inputs[0][:, :1].numel() * grown > _MOST_MAP_BYTES:
                raise InputError("its maps take more memory than those of any network here")

    hook = register_module_forward_pre_hook(weigh)
    try:
        yield
    finally:
        hook.remove()


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Load a checkpoint of tensors only, never code.

    Raises:
        InputError: if the file is missing or corrupt, holds pickled code, or does not fit the network.
    """
    _fill(network, _read_state(path), path)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a checkpoint."""
    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickles that are refused anyway
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; train the bundle first") from error
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file you may read") from error
    except Exception as error:  # torch.load raises many kinds: pickle, zip, key, end of file
        code = re.search(r"\bGLOBAL\b( torch(\._utils|\.storage)? )?", str(error))
        reason = "is corrupt, or no checkpoint at all"
        if code:
            reason = "holds more than plain tensors" if code[1] else "holds pickled code, which is never run"
        raise InputError(f"{path}: {reason}; give a checkpoint of tensors, as training writes it") from error
    state = state.get("network", state) if isinstance(state, dict) else {"": state}
    if not isinstance(state, dict) or not all(_is_plain(name, value) for name, value in state.items()):
        raise InputError(f"{path}: holds no weights; give a checkpoint as training writes it")
    return state


def _check_archive(path: Path) -> None:
    """Refuse what would unpack to more than the file holds: what training writes is never packed."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if not path.is_file() or size > 2 * _MOST_BYTES:
            raise ValueError("no file, or too large")
        if file.read(1) == b"\x80":
            raise ValueError("a bare pickle, with GLOBAL names in it")
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            packed = any(one.compress_type != zipfile.ZIP_STORED for one in members)
            if packed or sum(one.file_size for one in members) > size:
                raise ValueError("a packed archive")
            for one in members:
                if one.filename.endswith("data.pkl") and one.file_size <= _LARGEST_PICKLE:
                    _check_pickle(archive.read(one))
                elif one.filename.endswith("data.pkl"):
                    raise ValueError("more names than any network has")


def _check_pickle(content: bytes) -> None:
    """Refuse what takes memory or time beyond the file's size, though torch's ``weights_only`` would do it.

    That calls ``bytearray`` and tensors' constructors with any size, and hashes tuples of tuples that are named again
    and again, in time that doubles with each.
    """
    tuples, last = set(), ""
    for operation, argument, _ in pickletools.genops(content):
        name = operation.name
        if name == "GLOBAL" and not _PLAIN.fullmatch(str(argument)):
            raise ValueError(f"GLOBAL {argument}")
        if name.endswith("BINPUT") and last.startswith("TUPLE"):
            tuples.add(argument)
        elif name.endswith("BINGET") and argument in tuples:
            raise ValueError("a tuple that is named again")
        if not name.endswith(_LEAVES):
            last = name


def _is_plain(name: object, value: object) -> bool:
    """Whether this is a name with an ordinary tensor: not sparse or quantized, and not without its numbers."""
    if not isinstance(name, str) or type(value) not in (torch.Tensor, torch.nn.Parameter):
        return False
    tensor = cast("torch.Tensor", value)
    return tensor.layout is torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"


def _fill(network: torch.nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    unfit = f"{path}: does not fit the network of its bundle's configuration"
    own = network.state_dict()
    for name, value in state.items():
        wanted = own.get(name, value)
        kept_half = {value.dtype, wanted.dtype} <= _FLOATS  # as shipped weights are, to be small
        if value.shape != wanted.shape or not (kept_half or value.dtype == wanted.dtype):
            kinds = [f"{str(one.dtype).removeprefix('torch.')} {list(one.shape)}" for one in (value, wanted)]
            raise InputError(f"{unfit}: {name[:80]} is {kinds[0]}, the network's {kinds[1]}")
        if name in own and name != ERROR_RATIO and not bool(value.to(wanted.dtype).isfinite().all()):
            raise InputError(f"{path}: holds weights that are NaN or infinite; its training has failed, train again")
    if ERROR_RATIO in own and ERROR_RATIO in state and float(state[ERROR_RATIO]) in (_NEVER_CALIBRATED, math.inf):
        state = {**state, ERROR_RATIO: torch.full_like(state[ERROR_RATIO], math.nan)}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = (str(error).splitlines()[1:] or [str(error)])[0].strip()
        raise InputError(f"{unfit}: {reason[:200]}") from error


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
