"""Whether a bundle's train.json runs anything but what this package writes into one: a training is a program."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from lmk3d.components import find_class, read_config
from lmk3d.configure.files import bundle_files
from lmk3d.configure.methods import METHODS
from lmk3d.configure.plan import LevelPlan
from lmk3d.configure.shipped import CASCADE, DENSESEG, SHIPPED
from lmk3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lmk3d.configure.plan import Plan

__all__ = ["check_trusted"]

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
# Beside what the templates name: components of this package, random transforms of MONAI's, optimizers.
_COMPONENTS = re.compile(r"Rand(?!Lambda)\w+d|torch\.optim(\.lr_scheduler)?\.[A-Z]\w*")
_ROOMS = tuple(f"lmk3d.{name}" for name in ("codecs", "networks", "transforms", "inference", "objectives", "training"))


def check_trusted(folder: Path) -> None:
    """Refuse a train.json with an expression, or a component, that no file written by this package holds.

    Numbers and settings may differ, and networks, transforms and optimizers may be others.

    Args:
        folder: of a bundle.
    Raises:
        InputError: naming the first such entry; or if there is no train.json.
    """
    path, config = read_config(folder, "train.json")
    known = _known()
    for where, kind, text in _runnable(config, ""):
        if (kind, _NUMBER.sub("0", text)) in known or (kind == "component" and _is_component(text)):
            continue
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise InputError(
            f"{path}: {where}: {shown!r} is code that lmk3d did not write; training would run it:"
            " if you know where the folder comes from, give --trust"
        )


def _is_component(target: str) -> bool:
    if _COMPONENTS.fullmatch(target):
        return True
    try:
        find_class(target, "", _ROOMS)
    except InputError:
        return False
    return True


def _runnable(node: Any, where: str) -> Iterator[tuple[str, str, str]]:
    """Every value that MONAI would call, evaluate or read from another file, with its id and kind."""
    if isinstance(node, str) and node.startswith(("$", "%")):
        yield where, "expression", node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, item in items:
        inner = f"{where}#{key}" if where else str(key)
        if key == "_target_":
            yield inner, "component", str(item)
        elif key == "_mode_":
            yield inner, "mode", str(item)
        else:
            yield from _runnable(item, inner)


@cache
def _known() -> frozenset[tuple[str, str]]:
    """All that the files of any plan hold, whatever its numbers."""
    files = [content for plan in _plans() for content in bundle_files(plan).values()]
    return frozenset((kind, _NUMBER.sub("0", text)) for file in files for _, kind, text in _runnable(file, ""))


def _plans() -> Iterator[Plan]:
    """Plans that differ in everything that an expression or a component depends on."""
    for plan in SHIPPED:
        yield from (plan, replace(plan, dataset="dataset.json", any_pose=True))
    for method in METHODS:
        yield replace(DENSESEG, method=method, dataset="dataset.json")
    film = replace(DENSESEG, method="cascade", levels=(LevelPlan(1.0, 8, 1.0, steps=True),), tree=True, varied=True)
    yield from (film, replace(film, side_px=300.0))
    yield replace(CASCADE, tree=True, places=True, levels=film.levels, patch_sigma_vox=1.0)
