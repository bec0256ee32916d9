"""Several trainings of one plan as one bundle, whose networks answer together."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lmk3d.calibration import Calibration, write_calibration
from lmk3d.components import read_config
from lmk3d.conformal import Radii
from lmk3d.errors import InputError
from lmk3d.inference import LandmarkDetector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["join_bundles"]

_SHARED = ("names", "spacing_mm", "window", "codec", "levels", "network_def", "detector")


def join_bundles(folders: Sequence[Path], target: Path) -> int:
    """Write one bundle of several trainings of one plan, such as with other seeds.

    It is an ordinary bundle, whose first stage is the mean of theirs (``MeanMaps``) and whose refiners make the mean of
    their moves (``MeanMoves``). What was learnt of the shapes is the first one's. The grids they were trained through
    may differ; an image is padded to the largest.

    Where all of them are calibrated, its radii are made of the scores that each had in its own validation cases; those
    of folds are of all patients. See ``Radii.pooled``: they are scores of single trainings, and usually a little larger
    than the mean's would be. Nothing assesses how like the training data a scan is.

    Args:
        folders: two trained bundles or more, whose settings agree.
        target: the new folder; it appears whole or not at all.
    Returns:
        How many patients its radii are made of; 0 where a bundle has none.
    Raises:
        InputError: if the target exists, a bundle lacks a file or is joined already, or settings differ.
    """
    if target.exists():
        raise InputError(f"{target}: exists already; choose another folder, or remove it first")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent}: no such folder; make it first")
    if len(folders) < 2:
        raise InputError(f"{folders[0] if folders else target}: one bundle is no ensemble; name two or more")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError(f"{target}: a bundle was named twice; name each once")
    for folder in folders:
        _check_agreement(folder, folders[0])
    members = [LandmarkDetector.from_bundle(folder) for folder in folders]
    radii = _pooled([None if own.calibration is None else own.calibration.radii for own in members])
    path, config = read_config(folders[0], "inference.json")
    network = _network_of(config, path)
    sides = np.max([read_config(folder, "inference.json")[1].get("sides", [1, 1, 1]) for folder in folders], axis=0)
    joined = {
        **network,
        "heatmap": _mean_of("MeanMaps", network["heatmap"], len(folders)),
        "refiners": [_mean_of("MeanMoves", refiner, len(folders)) for refiner in network["refiners"]],
    }
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=target.parent) as staging:
        folder = Path(staging) / target.name
        (folder / "models").mkdir(parents=True)
        for name, content in (
            ("inference.json", {**config, "sides": sides.tolist(), "network_def": joined}),
            ("metadata.json", _described(folders)),
        ):
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        weights = folder / "models" / "model.pt"
        torch.save(_joined_state([own.network.state_dict() for own in members]), weights)
        if radii is not None:
            write_calibration(Calibration({"training": 0, "validation": len(radii)}, radii=radii), weights)
        LandmarkDetector.from_bundle(folder)  # it must load before it may stand
        folder.rename(target)
    return 0 if radii is None else len(radii)


def _pooled(radii: Sequence[Radii | None]) -> Radii | None:
    """The scores of all members; None where one of them has none."""
    known = [own for own in radii if own is not None]
    return Radii.pooled(known) if len(known) == len(radii) else None


def _described(folders: Sequence[Path]) -> dict[str, Any]:
    """The first one's metadata, with the warning of any."""
    about = [read_config(folder, "metadata.json")[1] for folder in folders]
    warnings = [own["warning"] for own in about if "warning" in own]
    return {**about[0], **({"warning": warnings[0]} if warnings else {})}


def _mean_of(kind: str, member: dict[str, Any], count: int) -> dict[str, Any]:
    return {"_target_": f"lmk3d.networks.{kind}", "members": [member] * count}


def _joined_state(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The weights of all cascades under the names that they have as members; of the rest the first one's."""
    joined: dict[str, Tensor] = {}
    for number, state in enumerate(states):
        for name, value in state.items():
            joined.setdefault(re.sub(r"^(heatmap|refiners\.\d+)\.", rf"\1.members.{number}.", name), value)
    for name in {"error_ratio", "mistakes"} & set(joined):  # of the others what the first one learnt
        joined[name] = torch.stack([state[name] for state in states]).mean(0)
    return joined


def _network_of(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The network's part of a configuration, seen to be one that can be joined."""
    network = config.get("network_def")
    parts = [network.get("heatmap"), *_listed(network.get("refiners"))] if isinstance(network, dict) else [None]
    if not isinstance(network, dict) or not all(isinstance(part, dict) for part in parts):
        raise InputError(f"{path}: network_def holds no networks to join; export or train the bundle again")
    return network


def _listed(refiners: Any) -> list[Any]:
    return refiners if isinstance(refiners, list) else [None]


def _check_agreement(folder: Path, first: Path) -> None:
    """That a bundle is a single one of the same plan as the first."""
    (path, config), other = read_config(folder, "inference.json"), read_config(first, "inference.json")[1]
    if _network_of(config, path)["heatmap"].get("_target_") == "lmk3d.networks.MeanMaps":
        raise InputError(f"{path}: holds several networks already; join single bundles")
    for name in _SHARED:
        if config.get(name) != other.get(name):
            raise InputError(f"{path}: its {name!r} differs from that of {first}; join trainings of one plan")
