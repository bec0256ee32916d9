"""The record beside every prediction: what it was made from, with what, and how long it took."""

from __future__ import annotations

import glob
import hashlib
import json
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.geometry import Volume
    from lmk3d.landmarks import Landmarks

__all__ = ["describe_bundle", "describe_input", "sha256", "versions", "write_manifest"]

_PACKAGES = ("lmk3d", "monai", "torch", "numpy", "nibabel", "pydicom", "pillow")
_HEADERS = (".mhd", ".nhdr")
_WHOLE = (".nii", ".nii.gz", ".nrrd", ".mha", ".zip")
_BLOCK = 1 << 20  # bytes; larger blocks hash no faster and cost memory


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def describe_input(image: Path, volume: Volume) -> dict[str, object]:
    """Path as given, digest, size and spacing of an image; nothing from its header, which may name a patient.

    Returns:
        JSON values. "sha256" is the file's digest; where the image is made of several "files", it is the digest of
        their lines "digest  relative path" in the order of the paths.
    """
    files = _files_of(image, volume)
    digest = sha256(files[0])
    if len(files) > 1:
        root = image if image.is_dir() else image.parent
        lines = [f"{sha256(file)}  {file.relative_to(root).as_posix()}\n" for file in files]
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return {
        "path": str(image),
        "files": len(files),
        "sha256": digest,
        "shape": list(volume.grid.shape),
        "spacing": [round(float(step), 6) for step in volume.grid.spacing_mm],
        "unit": volume.unit,
    }


def _files_of(image: Path, volume: Volume) -> list[Path]:
    """The files that an image may have been read from, in the order of their names."""
    if image.is_dir():
        return sorted(file for file in image.rglob("*") if file.is_file())
    if image.suffix.lower() in _HEADERS:  # the voxels lie in a file beside it, named alike
        return sorted(file for file in image.parent.glob(f"{glob.escape(image.stem)}.*") if file.is_file())
    if volume.grid.shape[2] > 1 and not image.name.lower().endswith(_WHOLE):  # one DICOM slice stands for its series
        return sorted(file for file in image.parent.iterdir() if file.is_file())
    return [image]


def describe_bundle(folder: Path, version: str) -> dict[str, object]:
    """Name, version and digest of the weights of a bundle."""
    return {"name": folder.resolve().name, "version": version, "sha256": sha256(folder / "models" / "model.pt")}


def write_manifest(
    path: Path,
    *,
    image: dict[str, object],
    bundle: dict[str, object],
    landmarks: Landmarks,
    outputs: list[str],
    run: dict[str, Any],
) -> None:
    """Write the manifest of one prediction as JSON.

    Args:
        path: where to; the caller makes it atomic.
        image: from ``describe_input``.
        bundle: from ``describe_bundle``.
        landmarks: what was found; the manifest names the present and the missing ones.
        outputs: names of the other files written.
        run: what else to record: device, seconds.
    """
    names = list(dict.fromkeys(landmarks.names))
    missing = [name for name in names if not len(landmarks[name])]
    content = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "input": image,
        "bundle": bundle,
        "landmarks": {"found": [name for name in names if name not in missing], "missing": missing},
        "outputs": outputs,
        **run,
        "versions": versions(),
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """The version of Python and of each package that a result depends on, where it is installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
