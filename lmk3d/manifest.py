"""The record beside every prediction: what it was made from, with what, and how long it took."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from lmk3d.io.images import image_files
from lmk3d.io.nifti import nifti_form
from lmk3d.landmarks import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lmk3d.geometry import Volume
    from lmk3d.landmarks import Landmarks

__all__ = [
    "KEEP_UNTRUSTED",
    "MANIFEST",
    "bundle_digests",
    "describe_assessment",
    "describe_bundle",
    "describe_input",
    "digest_input",
    "read_manifest",
    "sha256",
    "verdict_in",
    "versions",
    "write_manifest",
]

MANIFEST = ".manifest.json"
"""What the name of a manifest ends in."""

KEEP_UNTRUSTED = "keep_untrusted"
"""The key among a manifest's options that says whether points are in the outputs that are not trusted."""


_PACKAGES = ("lmk3d", "monai", "torch", "numpy", "nibabel", "pydicom", "SimpleITK", "pillow")
_NIFTI = re.compile(r"\.(nii|hdr|img)(\.gz)?$", re.IGNORECASE)
_CONFIG = "inference.json"
_ASSESSMENT = "assessment"
_BLOCK = 1 << 20  # bytes; larger blocks hash no faster and cost memory


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def describe_input(image: Path, volume: Volume, *, series: str | None = None) -> dict[str, object]:
    """Path as given, digest, size and spacing of an image; nothing from its header, which may name a patient.

    Returns:
        JSON values; see ``digest_input`` for "files" and "sha256". "orientation" is the form that a NIfTI image's
        affine comes from.
    Raises:
        InputError: see ``digest_input``.
    """
    files, digest = digest_input(image, series=series)
    return {
        "path": str(image),
        "files": files,
        "sha256": digest,
        "shape": list(volume.grid.shape),
        "spacing": [round(float(step), 6) for step in volume.grid.spacing_mm],
        "unit": volume.unit,
        **({"orientation": nifti_form(image)} if _NIFTI.search(image.name) else {}),
        **({"notes": list(volume.notes)} if volume.notes else {}),
    }


def digest_input(image: Path, *, series: str | None = None) -> tuple[int, str]:
    """How many files an image is read from, and their digest.

    Of DICOM the headers are read, to tell the files of the series from others beside them; pixels are not decoded.

    Args:
        image: the file or folder.
        series: which DICOM series, if there are several.
    Returns:
        The number of files, and the SHA-256 of the only one or, where there are several, of their lines
        "digest  relative path" in the order of the paths. Other files beside them do not count.
    Raises:
        InputError: if a DICOM series can no longer be told from others.
    """
    files = _files_of(image, series)
    if len(files) == 1:
        return 1, sha256(files[0])
    root = image if image.is_dir() else image.parent
    lines = [f"{sha256(file)}  {file.relative_to(root).as_posix()}\n" for file in files]
    return len(files), hashlib.sha256("".join(lines).encode()).hexdigest()


def _files_of(image: Path, series: str | None) -> list[Path]:
    """The files that an image is read from, in the order of their names."""
    from lmk3d.io.dicom import dicom_files, is_dicom

    return dicom_files(image, series) if image.is_dir() or is_dicom(image) else sorted(image_files(image))


def describe_bundle(folder: Path, version: str, notes: Sequence[str] = ()) -> dict[str, object]:
    """Name, version and digests of a bundle, and what it says of itself that a user should know."""
    about = {"notes": list(notes)} if notes else {}
    return {"name": folder.resolve().name, "version": version, **about, **bundle_digests(folder)}


def bundle_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of a bundle's weights, and of the configuration and the calibration that prediction reads.

    Returns:
        "" for those of the two that it has not.
    """
    calibration = folder / "models" / "calibration.json"
    config = next((file for file in (folder / _CONFIG, folder / "configs" / _CONFIG) if file.is_file()), None)
    return {
        "sha256": sha256(folder / "models" / "model.pt"),
        "config_sha256": "" if config is None else sha256(config),
        "calibration_sha256": sha256(calibration) if calibration.is_file() else "",
    }


def read_manifest(path: Path) -> dict[str, Any]:
    """What a manifest holds; empty where there is none, or one that ``write_manifest`` did not write."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        image, bundle, outputs = content["input"], content["bundle"], content["outputs"]
        whole = len(image["shape"]) == 3 and {"files", "sha256"} <= image.keys() and isinstance(outputs, list)
        whole = whole and {"found", "withheld"} <= content["landmarks"].keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return content if whole and isinstance(bundle, dict) else {}


def write_manifest(
    path: Path,
    *,
    image: dict[str, object],
    bundle: dict[str, object],
    landmarks: Landmarks,
    run: dict[str, Any],
) -> None:
    """Write the manifest of one prediction as JSON.

    Args:
        path: where to; the caller makes it atomic.
        image: from ``describe_input``.
        bundle: from ``describe_bundle``.
        landmarks: as they are written; the manifest names those found, held back and missing, and says how far they can
            be trusted.
        run: what else to record: the names of the other files written as "outputs", options, device, seconds.
    """
    names = list(dict.fromkeys(landmarks.names))
    found = [name for name in names if len(landmarks[name])]
    withheld = list(
        dict.fromkeys(name for name, back in zip(landmarks.names, landmarks.held_back, strict=True) if back)
    )
    missing = [name for name in names if name not in {*found, *withheld}]
    content = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "input": image,
        "bundle": bundle,
        "landmarks": {"found": found, "withheld": withheld, "missing": missing},
        **({} if landmarks.coverage is None else {"coverage": landmarks.coverage}),
        _ASSESSMENT: describe_assessment(landmarks),
        **run,
        "versions": versions(),
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def describe_assessment(landmarks: Landmarks) -> dict[str, object] | None:
    """The verdict, its reasons, and what speaks against single points, as JSON; None where nobody assessed them."""
    assessment = landmarks.assessment
    if assessment is None:
        return None
    doubts: dict[str, list[str]] = {}
    for name, doubt in zip(landmarks.names, assessment.doubts, strict=True):
        if doubt:
            doubts.setdefault(name, []).append(doubt)
    return {"verdict": assessment.verdict, "reasons": list(assessment.reasons), "doubts": doubts}


def verdict_in(manifest: dict[str, Any]) -> str:
    """What a manifest says of the points, one of ``lmk3d.landmarks.VERDICTS``; "" where nobody assessed them."""
    assessment = manifest.get(_ASSESSMENT)
    verdict = assessment.get("verdict") if isinstance(assessment, dict) else ""
    return verdict if verdict in VERDICTS else ""


def versions() -> dict[str, str]:
    """The version of Python and of each package that a result depends on, where it is installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
