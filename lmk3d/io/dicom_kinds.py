"""What a DICOM file holds where that is no scan: segmentations, doses, reports, clips and the like."""

from __future__ import annotations

from typing import Any

__all__ = ["is_projection", "kind_of", "lacks_pixels"]

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_DIRECTORY = "1.2.840.10008.1.3.10"
# By SOP class, below "1.2.840.10008.5.1.4.1.1."; a point at the end stands for all classes below it. The first counts.
_CLASSES = (
    ("481.2", "a radiotherapy dose (RTDOSE)"),
    ("481.3", "a radiotherapy structure set (RTSTRUCT)"),
    ("481.1", ""),  # portal images
    ("481.23", ""),
    ("481.24", ""),
    ("481.", "a radiotherapy record"),
    ("66.4", "a segmentation (SEG)"),
    ("66.5", "a segmentation (SEG)"),
    ("66.7", "a segmentation (SEG)"),
    ("66.", "a registration, fiducials or raw data"),
    ("66", "raw data"),
    ("67", "a value mapping"),
    ("68.", "a surface"),
    ("11.", "a presentation state (PR)"),
    ("88.59", "a key object selection (KO)"),
    ("88.", "a structured report (SR)"),
    ("104.", "an encapsulated document"),
    ("9.", "a waveform"),
    ("4.2", "a spectrum (MR spectroscopy)"),
)
# By Modality, for files whose SOP class says nothing.
_MODALITIES = {
    "RTDOSE": "a radiotherapy dose (RTDOSE)",
    "RTSTRUCT": "a radiotherapy structure set (RTSTRUCT)",
    "RTPLAN": "a radiotherapy record",
    "RTRECORD": "a radiotherapy record",
    "SEG": "a segmentation (SEG)",
    "PR": "a presentation state (PR)",
    "KO": "a key object selection (KO)",
    "SR": "a structured report (SR)",
    "DOC": "an encapsulated document",
    "REG": "a registration, fiducials or raw data",
    "FID": "a registration, fiducials or raw data",
    "ECG": "a waveform",
}
# Of images, which must have pixels: CT, MR, CR, DX, secondary captures and their enhanced kinds.
_IMAGES = ("1", "1.", "2", "2.", "4", "4.1", "4.3", "4.4", "7", "7.", "12.", "13.1.", "20", "128", "128.1", "130")
# Projections, whose pixels lie on a detector: CR, DX, MG, IO, XA, RF and portal images, but no tomosynthesis.
_PROJECTIONS = ("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "12.1", "12.2", "481.1")
# For files whose SOP class is that of a secondary capture, or none. Not XA: rotational angiography saves its slices so.
_PROJECTING = ("CR", "DX", "MG", "IO", "PX", "RG", "RF")


def is_projection(dataset: Any) -> bool:
    """Whether an image is a radiograph, in which a place in space, if it has one, is that of the detector."""
    uid = _class_of(dataset)
    if any(uid == _STORAGE + known for known in _PROJECTIONS):
        return True
    captured = not uid or _is(uid, "7") or _is(uid, "7.")
    return captured and str(dataset.get("Modality") or "").strip().upper() in _PROJECTING


def kind_of(dataset: Any) -> str:
    """What a file is, in words, if it is no scan; "" where it may be one."""
    uid = _class_of(dataset)
    if uid == _DIRECTORY or dataset.get("DirectoryRecordSequence"):
        return "a directory of other DICOM files (DICOMDIR)"
    for known, kind in _CLASSES:
        if _is(uid, known):
            return kind
    if kind := _MODALITIES.get(str(dataset.get("Modality") or "").strip().upper(), ""):
        return kind
    image_type = dataset.get("ImageType") or ""
    if "MOSAIC" in ([image_type] if isinstance(image_type, str) else list(image_type)):
        return "a mosaic, which holds all slices in one image"
    count = int(dataset.get("NumberOfFrames") or 1)
    if count > 1 and dataset.get("Rows") and not dataset.get("PerFrameFunctionalGroupsSequence"):
        return f"a clip of {count} images without positions"
    return ""


def lacks_pixels(dataset: Any) -> bool:
    """Whether it calls itself an image and has no rows: its header is cut off or damaged."""
    if dataset.get("Rows") and dataset.get("Columns"):
        return False
    return any(_is(_class_of(dataset), known) for known in _IMAGES)


def _class_of(dataset: Any) -> str:
    meta = getattr(dataset, "file_meta", None) or {}
    return str(dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")


def _is(uid: str, known: str) -> bool:
    own = uid.removeprefix(_STORAGE)
    return own != uid and (own == known or (known.endswith(".") and own.startswith(known)))
