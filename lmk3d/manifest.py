"""The record beside every prediction: what it was made from, with what, and how long it took."""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.geometry import Volume
    from lmk3d.inference import LandmarkDetector
    from lmk3d.landmarks import Landmarks

__all__ = ["describe_input", "sha256", "write_manifest"]

_PACKAGES = ("lmk3d", "torch", "numpy", "nibabel", "itk", "pydicom")
_BLOCK = 1 << 20  # bytes; larger blocks hash no faster and cost memory


def sha256(path: Path) -> str:
    """Hex digest of a file; of a folder, that of its files' digests and relative paths in the order of their names."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            digest.update(f"{sha256(file)}  {file.relative_to(path).as_posix()}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def describe_input(image: Path, volume: Volume) -> dict[str, object]:
    """Path as given, digest, size and spacing of an image; nothing from its header, which may name a patient."""
    return {
        "path": str(image),
        "sha256": sha256(image),
        "shape": list(volume.grid.shape),
        "spacing": [round(float(step), 6) for step in volume.grid.spacing_mm],
        "unit": volume.unit,
    }


def write_manifest(
    path: Path,
    *,
    image: dict[str, object],
    detector: LandmarkDetector,
    bundle: Path,
    results: tuple[Landmarks, list[str]],
    run: dict[str, Any],
) -> None:
    """Write the manifest of one prediction as JSON.

    Args:
        path: where to; the caller makes it atomic.
        image: from ``describe_input``.
        detector: its version is recorded.
        bundle: its folder; name and digest of the weights are recorded.
        results: the landmarks found, and the names of the files they were written to.
        run: what else to record: device, seconds.
    """
    landmarks, outputs = results
    names = list(dict.fromkeys(landmarks.names))
    missing = [name for name in names if not len(landmarks[name])]
    weights = {file.name: sha256(file) for file in sorted((bundle / "models").glob("*")) if file.is_file()}
    content = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "input": image,
        "bundle": {"name": bundle.resolve().name, "version": detector.version, "weights_sha256": weights},
        "landmarks": {"found": [name for name in names if name not in missing], "missing": missing},
        "outputs": outputs,
        **run,
        "versions": {"python": platform.python_version(), **_versions()},
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
