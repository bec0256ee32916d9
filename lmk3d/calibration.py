"""What a bundle keeps beside its weights to judge its own predictions by: ``models/calibration.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.conformal import Radii
from lmk3d.errors import InputError
from lmk3d.io import atomic_path
from lmk3d.io.text import read_json
from lmk3d.manifest import sha256
from lmk3d.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lmk3d.evidence import Evidence
    from lmk3d.landmarks import Landmarks

__all__ = ["Calibration", "calibration_file", "read_calibration", "write_calibration"]

_VERSION = 1
_MAKE = "lmk3d calibrate makes one"


@dataclass(frozen=True, eq=False)
class Calibration:
    """What the training and validation cases say of a bundle's predictions.

    Args:
        cases: how many of "training" and of "validation" it was learnt from.
        trust: what tells scans and points unlike theirs; None where too few cases were there.
        radii: round points, from the errors in validation; None where no validation case had points.
    """

    cases: dict[str, int]
    trust: Trust | None = None
    radii: Radii | None = None

    def assessed(self, landmarks: Landmarks, evidence: Evidence, coverage: float) -> Landmarks:
        """The landmarks with their radii and assessment.

        Args:
            landmarks: the detector's, with its typical errors.
            evidence: of the same scan.
            coverage: share of new patients that the radii are to hold for, in (0, 1).
        Returns:
            The same points; those that are not trusted have neither radius nor expected error.
        """
        if self.radii is not None:
            scale = np.where(evidence.there, evidence.scale / evidence.factor, np.nan)
            radius = self.radii.factors(coverage)[evidence.numbers] * scale
            landmarks = replace(landmarks, error_mm=radius, coverage=self.radii.given(coverage))
        if self.trust is None:
            return landmarks
        found = replace(landmarks, assessment=self.trust.assess(evidence))
        error_mm = None if found.error_mm is None else np.where(found.trusted, found.error_mm, np.nan)
        return replace(found, error_mm=error_mm)


def calibration_file(weights: Path) -> Path:
    """Where the calibration of a model.pt is: beside it."""
    return weights.with_name("calibration.json")


def write_calibration(calibration: Calibration, weights: Path) -> None:
    """Write it beside the weights that it is of; it appears whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    content = {
        "version": _VERSION,
        "weights": sha256(weights),
        "cases": calibration.cases,
        "trust": None if calibration.trust is None else calibration.trust.to_dict(),
        "radii": None if calibration.radii is None else calibration.radii.to_dict(),
    }
    with atomic_path(calibration_file(weights)) as path:
        path.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")


def read_calibration(weights: Path, names: Sequence[str]) -> tuple[Calibration | None, tuple[str, ...]]:
    """The calibration of some weights, and what a user should know about it, one sentence each.

    Args:
        weights: the model.pt.
        names: of its landmarks.
    Returns:
        None where there is no calibration, or one of other weights.
    Raises:
        InputError: if the file is damaged.
    """
    path = calibration_file(weights)
    if not path.is_file():
        return None, (f"nothing assesses its predictions, for it has no calibration: {_MAKE}",)
    content = read_json(path)
    try:
        if content["version"] != _VERSION:
            raise ValueError(f"version {content['version']!r} is not {_VERSION}")
        if content["weights"] != sha256(weights):
            return None, (f"nothing assesses its predictions, for its calibration is of other weights: {_MAKE}",)
        cases = {section: int(content["cases"][section]) for section in ("training", "validation")}
        trust = None if content["trust"] is None else Trust.from_dict(content["trust"])
        if trust is not None and trust.names != tuple(names):
            raise ValueError("trust is of other landmarks")
        radii = None if content["radii"] is None else Radii.from_dict(content["radii"])
        if radii is not None and radii.scores.shape[1] != len(names):
            raise ValueError(f"radii are of {radii.scores.shape[1]} landmarks, not of {len(names)}")
        calibration = Calibration(cases, trust, radii)
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: is damaged ({reason}); remove it, and make it again with lmk3d calibrate") from error
    few = f"nothing assesses its predictions, for it is an ensemble, or was calibrated on too few cases: {_MAKE}"
    return calibration, () if trust is not None else (few,)
