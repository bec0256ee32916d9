"""Several trainings of one plan as one bundle: each finds the landmarks, and their mean is what is said."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lmk3d.codecs import DenseCodec
from lmk3d.components import read_config
from lmk3d.errors import InputError
from lmk3d.inference import LandmarkDetector
from lmk3d.landmarks import Landmarks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmk3d.geometry import Volume
    from lmk3d.networks import Cascade, Committee

__all__ = ["Ensemble", "join_bundles"]

_SHARED = ("names", "spacing_mm", "window", "codec", "levels", "detector")  # what bundles of one plan agree in


class Ensemble(LandmarkDetector):
    """A detector that asks several networks, each with its own refinement, and says the mean of their points.

    A landmark is missing where half of them or more find none. The confidence is the mean presence, the expected error
    the mean of theirs: the error that they share does not shrink with their number.

    Args:
        network: the members, which all know the same landmarks.
        settings: as for ``LandmarkDetector``.
    Raises:
        ValueError: as ``LandmarkDetector``; also for masks and for several instances of a name, which have no mean.
    """

    def __init__(self, network: Committee, **settings: Any) -> None:
        first: Cascade = network.members[0]  # type: ignore[assignment]
        super().__init__(first, **settings)
        if isinstance(self.codec, DenseCodec) or self.codec.instances > 1:
            raise ValueError("networks that draw masks, or several points of one name, cannot be joined")
        self.members = [LandmarkDetector(member, **settings) for member in network.members]  # type: ignore[arg-type]
        self.network = network  # type: ignore[assignment]

    def detect_stages(self, volume: Volume) -> dict[str, Landmarks]:
        """What each stage says, in order, the mean over the members; see ``LandmarkDetector.detect_stages``."""
        for member in self.members:
            member.device = self.device
        found = [member.detect_stages(volume) for member in self.members]
        return {name: _mean([stages[name] for stages in found]) for name in found[0]}


def _mean(several: Sequence[Landmarks]) -> Landmarks:
    """The mean of what several networks say of the same landmarks."""
    points = np.array([one.points_mm for one in several])
    there = np.isfinite(points).all(2)
    most = there.sum(0) > len(several) / 2
    share = there / np.maximum(there.sum(0), 1)
    mean = np.where(most[:, None], (np.nan_to_num(points) * share[..., None]).sum(0), np.nan)
    errors = np.array([one.error_mm for one in several], dtype=np.float64)
    error = np.where(most, (np.nan_to_num(errors) * share).sum(0), np.nan)
    confidence = np.mean([np.asarray(one.confidence) for one in several], axis=0)
    return Landmarks(several[0].names, mean, confidence, error, several[0].unit)


def join_bundles(folders: Sequence[Path], target: Path) -> None:
    """Write one bundle of several trainings of one plan, such as with other seeds.

    Args:
        folders: two trained bundles or more, whose settings agree.
        target: the new folder; it appears whole or not at all.
    Raises:
        InputError: if the target exists, a bundle lacks a file or is joined already, or settings differ.
    """
    if target.exists():
        raise InputError(f"{target}: exists already; choose another folder, or remove it first")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent}: no such folder; make it first")
    if len(folders) < 2:
        raise InputError(f"{folders[0] if folders else target}: one bundle is no ensemble; name two or more")
    configs = [_config_to_join(folder, folders[0]) for folder in folders]
    state: dict[str, torch.Tensor] = {}
    for number, folder in enumerate(folders):
        weights = LandmarkDetector.from_bundle(folder).network.state_dict()
        state |= {f"members.{number}.{name}": value for name, value in weights.items()}
    members = [config["network_def"] for config in configs]
    joined = {
        **configs[0],
        "network_def": {"_target_": "lmk3d.networks.Committee", "members": members},
        "detector": {**configs[0]["detector"], "_target_": "lmk3d.ensemble.Ensemble"},
    }
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=target.parent) as staging:
        folder = Path(staging) / target.name
        (folder / "models").mkdir(parents=True)
        for name, content in (
            ("inference.json", joined),
            ("metadata.json", read_config(folders[0], "metadata.json")[1]),
        ):
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        torch.save(state, folder / "models" / "model.pt")
        LandmarkDetector.from_bundle(folder)  # it must load before it may stand
        folder.rename(target)


def _config_to_join(folder: Path, first: Path) -> dict[str, Any]:
    """A bundle's inference.json, which agrees with the first one's."""
    path, config = read_config(folder, "inference.json")
    if config.get("detector", {}).get("_target_") != "lmk3d.inference.LandmarkDetector":
        raise InputError(f"{path}: holds several networks, or another detector; join single bundles")
    other = read_config(first, "inference.json")[1]
    for name in _SHARED:
        if config.get(name) != other.get(name):
            raise InputError(f"{path}: its {name!r} differs from that of {first}; join trainings of one plan")
    return config
