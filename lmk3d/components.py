"""Bundles' configurations: read, checked for slips before anything is built, and built without MONAI's slow import."""

from __future__ import annotations

import inspect
import os
import re
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmk3d.errors import InputError, did_you_mean
from lmk3d.io.text import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Config = dict[str, Any]

__all__ = ["about_bundle", "build", "check", "default_bundle", "find_bundle", "find_class", "hint", "read_config"]

# What MONAI itself, or a command, reads of a configuration: nothing in the file need refer to it.
_ROOTS = {
    "imports",
    "initialize",
    "run",
    "finalize",
    "training",
    "evaluating",
    "train",
    "validate",
    "dataset",
    "network",
}
_ROOTS |= {"bundle_root", "ckpt_dir", "device", "network_def", "inferer", "preprocessing", "postprocessing", "detector"}
_ROOTS |= {"image", "output_dir", "dataloader", "evaluator", "handlers"}
# Keys of a component that are MONAI's and no arguments.
_RESERVED = {"_target_", "_disabled_", "_requires_", "_desc_", "_mode_"}
# Where the components are that a bundle's files may name; nothing else is built of what a file says.
_ROOMS = ("lmk3d.codecs", "lmk3d.networks", "lmk3d.transforms", "lmk3d.inference")
_LARGEST_FILE = 2**24  # bytes; the longest configuration here has a thousandth of it
# What a constructor raises for settings that it cannot take.
_REFUSALS = (
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    AssertionError,
    MemoryError,
)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


_PLAIN: dict[str, Callable[[Any], bool]] = {
    "Any": lambda value: True,
    "None": lambda value: value is None,
    "bool": lambda value: isinstance(value, bool),
    "float": _is_number,
    "int": lambda value: isinstance(value, int) and _is_number(value),
    "str": lambda value: isinstance(value, str),
}
_REFERENCE = re.compile(r"(?<![\w.])@([A-Za-z_]\w*(?:(?:#|::)\w+)*)")


def hint(word: str, known: Iterable[str]) -> str:
    """What to put behind an unknown word: the nearest known one, else all of them."""
    known = list(known)
    return did_you_mean(word, known, f"known are {', '.join(known) or 'none'}")


def read_config(folder: Path, name: str) -> tuple[Path, Config]:
    """One of a bundle's configurations, from the bundle's folder or its ``configs``, and the file it stands in.

    Raises:
        InputError: if there is none, or it is no JSON.
    """
    path = next((file for file in (folder / name, folder / "configs" / name) if file.is_file()), None)
    if path is None:
        raise InputError(f"{folder / name}: no such file; give the folder of a bundle")
    if path.stat().st_size > _LARGEST_FILE:
        raise InputError(f"{path}: is {path.stat().st_size / 2**20:.0f} MB, too large for a configuration")
    config = read_json(path)
    if not isinstance(config, dict):
        raise InputError(f"{path}: is no configuration; it must be an object of names and values")
    return path, config


def about_bundle(folder: Path) -> tuple[str, tuple[str, ...]]:
    """A bundle's version, and what its metadata.json warns of; nothing of either where there is no such file."""
    try:
        about = read_config(folder, "metadata.json")[1]
    except InputError:
        return "", ()
    said = (about.get("warning"), about.get("limitations"))
    return str(about.get("version", "")), tuple(note for note in said if isinstance(note, str))


def build(config: Config, name: str, path: Path) -> Any:
    """Make what a configuration calls ``name``: ``_target_`` of this package, ``@id`` of the same file, plain values.

    The subset of MONAI's configurations that prediction needs; ``monai.bundle`` reads the same files, but takes four
    seconds to import, and runs their ``$`` expressions. Here the file is data: only components are built (networks,
    codecs, transforms, the detector and its levels), each entry once, and each argument must be of the kind that the
    component says.

    Args:
        config: what the file holds.
        name: which of its entries to make.
        path: of the file, for errors.
    Raises:
        InputError: naming the entry and what is wrong with it.
    """
    try:
        return _Builder(config, path).made(f"@{name}", name, ())
    except RecursionError as error:
        raise InputError(f"{path}: {name}: is nested too deeply to be a file of this package") from error


class _Builder:
    """Makes the entries of one configuration, each of them once."""

    def __init__(self, config: Config, path: Path) -> None:
        self.config, self.path = config, path
        self.known: dict[str, Any] = {}

    def made(self, node: Any, where: str, open_names: tuple[str, ...]) -> Any:
        if isinstance(node, str) and node.startswith("@"):
            return self._entry(node[1:], where, open_names)
        if isinstance(node, list):
            return [self.made(item, f"{where}#{row}", open_names) for row, item in enumerate(node)]
        if not isinstance(node, dict):
            return node
        target = None if "_target_" not in node else find_class(str(node["_target_"]), f"{self.path}: {where}")
        if target is not None:
            _check_arguments(target, node, f"{self.path}: {where}")
        values = {key: self.made(item, f"{where}#{key}", open_names) for key, item in node.items()}
        return values if target is None else self._component(target, values, where)

    def _entry(self, name: str, where: str, open_names: tuple[str, ...]) -> Any:
        if name not in self.config:
            raise InputError(f"{self.path}: {where}: nothing is called {name!r}; {hint(name, self.config)}")
        if name in open_names:
            raise InputError(f"{self.path}: {where}: {name!r} is made of itself; break the circle")
        if name not in self.known:
            self.known[name] = self.made(self.config[name], name, (*open_names, name))
        return self.known[name]

    def _component(self, found: type, values: dict[str, Any], where: str) -> Any:
        kinds = _arguments(found)[0]
        arguments = {key: value for key, value in values.items() if key not in _RESERVED}
        for key, value in arguments.items():
            if not _fits(value, kinds.get(key, "Any")):
                kind = f"it takes {kinds[key]}"
                raise InputError(f"{self.path}: {where}: {found.__name__}: {key} cannot be {_shown(value)}; {kind}")
        try:
            return found(**arguments)
        except InputError as error:
            raise InputError(f"{self.path}: {where}: {error}") from error
        except _REFUSALS as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(f"{self.path}: {where}: {found.__name__} cannot be made: {reason}") from error


def _fits(value: Any, kind: str) -> bool:
    """Whether a value is of the kind that an annotation says; what is no word of JSON is a component of that class."""
    if " | " in kind:
        return any(_fits(value, one) for one in kind.split(" | "))
    outer, _, inner = kind.rstrip("]").partition("[")
    if outer == "Sequence":
        return isinstance(value, list) and all(_fits(one, kind[len("Sequence[") : -1]) for one in value)
    if outer == "Mapping":
        inner = kind[len("Mapping[str, ") : -1]
        return isinstance(value, dict) and all(_fits(one, inner) for one in value.values())
    if outer == "KeysCollection":
        return _fits(value, "str | Sequence[str]")
    if outer in _PLAIN:
        return _PLAIN[outer](value)
    return any(base.__name__ == outer.rpartition(".")[2] for base in type(value).__mro__)


def _shown(value: Any) -> str:
    """A value for an error, in a few words whatever its size."""
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else "an object of JSON"
    return repr(value)[:60] if value is None or isinstance(value, str | int | float) else f"a {type(value).__name__}"


def find_class(target: str, where: str, rooms: Sequence[str] = _ROOMS) -> type:
    """The component of that dotted name: a class that a module of this package makes public, nothing it has imported.

    Args:
        target: the name.
        where: file and id, for errors.
        rooms: the packages that it may stand in.
    Raises:
        InputError: if there is none.
    """
    room, _, name = target.rpartition(".")
    if not room.startswith("lmk3d."):
        raise InputError(f"{where}: {target[:80]!r} is not part of lmk3d; give lmk3d.<room>.<class>")
    if not any(room == one or room.startswith(f"{one}.") for one in rooms):
        raise InputError(f"{where}: {target[:80]!r} is no component of a bundle; those are in {', '.join(rooms)}")
    try:
        module = import_module(room)
    except ImportError as error:
        raise InputError(f"{where}: there is no module {room!r} ({error})") from error
    public = [known for known in module.__all__ if isinstance(getattr(module, known), type)]
    if name not in public:
        raise InputError(f"{where}: {room} has no class {name!r}; {hint(name, public)}")
    found: type = getattr(module, name)
    return found


def check(config: Config, path: Path, find: Callable[[str], Any]) -> None:
    """Look for slips in a configuration: unknown targets, arguments and references, entries nothing refers to.

    Args:
        config: what the file holds, overrides included.
        path: of the file, for errors.
        find: from a ``_target_`` to the class or function, or None where there is none of that name.
    Raises:
        InputError: naming the first one, and the nearest that is valid.
    """
    used: set[str] = set()
    for where, node in _walk(config, ""):
        if isinstance(node, dict) and "_target_" in node and isinstance(node["_target_"], str):
            target = node["_target_"]
            if not target.startswith(("$", "@")):
                if (found := find(target)) is None:
                    raise InputError(f"{path}: {where}: there is no {target!r}; check its spelling")
                _check_arguments(found, node, f"{path}: {where}")
        elif isinstance(node, str) and node.startswith(("@", "$")):
            for name in _REFERENCE.findall(node):
                _follow(name.replace("::", "#"), where, config, path)
                used.add(re.split("#|::", name)[0])
    for name in config:
        # An entry that nothing uses is harmless, unless it is another one misspelt.
        if name not in used | _ROOTS and (near := get_close_matches(name, used | _ROOTS, n=1, cutoff=0.75)):
            raise InputError(f"{path}: nothing uses {name!r}; did you mean {near[0]!r}?")


def _walk(node: Any, where: str) -> Iterable[tuple[str, Any]]:
    """Every value of a configuration with its id, outer ones first."""
    yield where, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, item in items:
        yield from _walk(item, f"{where}#{key}" if where else str(key))


def _follow(name: str, where: str, config: Config, path: Path) -> None:
    """Check that ``@name`` leads somewhere."""
    node: Any = config
    for part in name.split("#"):
        if isinstance(node, list):
            node = {str(row): item for row, item in enumerate(node)}
        if not isinstance(node, dict):
            return  # into what a reference or an expression makes, which only building shows
        if part not in node:
            raise InputError(f"{path}: {where}: nothing is called {name!r}; {hint(part, node)}")
        node = node[part]


def _check_arguments(found: Any, node: Config, where: str) -> None:
    """Check that a component's keys are arguments of what it makes.

    Args:
        found: the class or function.
        node: the component.
        where: file and id, for errors.
    Raises:
        InputError: for the first key that is none, or the first argument that is lacking.
    """
    known, lacking, closed = _arguments(found)
    keys = set(node) - _RESERVED
    for key in node:
        if closed and key in keys and key not in known:
            raise InputError(f"{where}: {found.__name__} has no argument {key!r}; {hint(key, known)}")
    for name in lacking:
        if name not in keys and node.get("_mode_", "default") == "default":
            raise InputError(f"{where}: {found.__name__} lacks its argument {name!r}; add it")


def _arguments(found: Any) -> tuple[dict[str, str], list[str], bool]:
    """All arguments by name with their annotations, those without a default, and whether there can be no others.

    A class that hands its other keywords on to its base takes the base's arguments too.
    """
    makers = [found]
    if isinstance(found, type):
        makers = [vars(base)["__init__"] for base in found.__mro__ if "__init__" in vars(base)]
    known: dict[str, str] = {}
    lacking: list[str] = []
    for maker in makers:
        try:
            parameters = inspect.signature(maker).parameters.values()
        except (TypeError, ValueError):  # of compiled code
            return known, lacking, False
        named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        named = [one for one in named if one.name != "self"]
        if not known:
            lacking = [one.name for one in named if one.default is one.empty]
        known = {one.name: one.annotation if isinstance(one.annotation, str) else "Any" for one in named} | known
        if all(one.kind is not one.VAR_KEYWORD for one in parameters):
            return known, lacking, True
    return known, lacking, False


def default_bundle(name: str = "cascade") -> Path:
    """The folder of a bundle shipped with the package, or found beside it in a checkout.

    Raises:
        InputError: if there is none of that name.
    """
    package = Path(__file__).parent
    roots = [root for root in (package / "bundles", package.parent / "bundles") if root.is_dir()]
    known = {folder.name: folder for root in roots[::-1] for folder in root.iterdir() if _is_bundle(folder)}
    if name not in known:
        raise InputError(f"no bundle {name!r} is shipped; {hint(name, sorted(known))}")
    return known[name]


def find_bundle(bundle: str | os.PathLike[str]) -> Path:
    """The folder of a bundle, given by its path or by the name of one that is shipped.

    Raises:
        InputError: if there is none, naming the nearest one.
    """
    text, folder = os.fspath(bundle), Path(bundle)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise InputError(f"{text}: is a file; give the folder of the bundle, the one that holds its models/")
    if folder.name == text:
        return default_bundle(text)
    near = did_you_mean(folder.name, (path.name for path in folder.parent.glob("*") if path.is_dir()), "")
    near = f", {near}" if near else ""
    raise InputError(f"{text}: no such bundle folder{near}; give a bundle's folder, or the name of one that is shipped")


def _is_bundle(folder: Path) -> bool:
    return any(path.is_file() for path in (folder / "inference.json", folder / "configs" / "inference.json"))
