"""Points as a DICOM structured report: TID 1500 with 3D coordinates in the frame of reference of the images."""

from __future__ import annotations

import hashlib
import zipfile
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.errors import InputError
from lmk3d.io.dicom import choose_series, is_dicom
from lmk3d.io.dicom_frames import Entry, naming, pydicom_dataset
from lmk3d.io.tables import PointRows
from lmk3d.io.text import convert_frame
from lmk3d.io.trust import WORDS, Said, trust_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lmk3d.landmarks import Landmarks

__all__ = ["check_reportable", "read_points_sr", "write_points_sr"]

# Value, scheme, meaning. Scheme 99LMK3D is this package's own, for what DICOM and SNOMED have no code for.
_OWN = "99LMK3D"
_GROUP = ("125007", "DCM", "Measurement Group")
_TRACKING = ("112039", "DCM", "Tracking Identifier")
_FINDING = ("121071", "DCM", "Finding")
_CERTAINTY = ("111012", "DCM", "Certainty of Finding")
_ERROR = ("expected-error", _OWN, "Expected error")
_RADIUS = ("error-radius", _OWN, "Radius that holds the truth in a share of new patients")
_COVERAGE = ("coverage", _OWN, "Share of new patients whose truth lies within the radius")
_TRUST = ("trust", _OWN, "Trust")
_TRUST_CODES = dict(zip(WORDS, ("trusted", "doubtful", "unlike", "missing"), strict=True))
_WHY = ("why", _OWN, "Reason for the trust")
_COMMENT = ("121106", "DCM", "Comment")
_PRESENCE = ("705057003", "SCT", "Presence")
_ABSENT = ("2667000", "SCT", "Absent")
_UNKNOWN = ("261665006", "SCT", "Unknown")
_IMAGING = ("363679005", "SCT", "Imaging")
_MM = ("mm", "UCUM", "millimeter")
_PERCENT = ("%", "UCUM", "Percent")
_DERIVED_SERIES = 900  # far above the numbers that scanners give
_LONGEST_MEANING = 64  # characters, VR LO; the tracking identifier holds the whole name

# Each image of the series is evidence of the report; of the first one everything is copied that says whose it is.
_OF_PATIENT = [
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
]
_EVIDENCE = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"]


def check_reportable(image: Path) -> None:
    """See that a report can refer to an image, before anything is computed.

    Raises:
        InputError: if it is no DICOM, or highdicom is not installed.
    """
    if not (image.is_dir() or zipfile.is_zipfile(image) or is_dicom(image)):
        raise InputError(f"{image}: is no DICOM, so a DICOM report has nothing to refer to; choose another --format")
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise InputError("a DICOM report needs highdicom; install it with `pip install 'lmk3d[sr]'`") from None


def write_points_sr(landmarks: Landmarks, path: Path, *, image: Path, series: str | None = None) -> None:
    """Write a Comprehensive 3D SR that refers to the images, in their study, with their patient.

    Each point is a measurement group (TID 1410) with its name as tracking identifier and finding, SCOORD3D POINT in
    LPS mm, confidence as certainty in percent, and the expected error, or with a coverage the radius and its coverage.
    A missing landmark is a group (TID 1501) with the evaluation "absent", or "unknown" where its point was withheld.
    Where the points were assessed, the report and each group have an evaluation "Trust", and texts that say why; the
    notes are comments of the report. DICOM keeps coordinates in float32: within 0.0001 mm as far as 1 m from the
    origin.

    Args:
        landmarks: the points, in mm.
        path: the file.
        image: folder, zip or file of the DICOM series the points lie in.
        series: which one, if there are several.
    Raises:
        InputError: if the image is no DICOM series with a frame of reference, the points are in px, or highdicom is
            not installed.
    """
    check_reportable(image)
    if not len(landmarks):
        raise InputError(f"{path}: there are no points, and a DICOM report needs one; choose another format")
    if landmarks.unit != "mm":
        raise InputError(f"{image}: its points are in px, and a DICOM report holds mm; choose another format")
    import highdicom

    evidence = _evidence(image, series)
    frame_uid = str(evidence[0].FrameOfReferenceUID)
    device = highdicom.sr.DeviceObserverIdentifyingAttributes(
        uid=highdicom.UID.from_uuid("1b0e1f7c-53a1-4b1a-9a55-0d5d6c1d3d0e"),  # of this package
        name="lmk3d",
        model_name=f"lmk3d {_version()}",
    )
    observer = highdicom.sr.ObserverContext(
        observer_type=_code("121007", "DCM", "Device"), observer_identifying_attributes=device
    )
    content = highdicom.sr.MeasurementReport(
        observation_context=highdicom.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_code(*_IMAGING),
        imaging_measurements=[_group(landmarks, row, frame_uid) for row in range(len(landmarks))],
        title=_code("126000", "DCM", "Imaging Measurement Report"),
    )
    content[0].ContentSequence.extend(_remarks(landmarks))
    report = highdicom.sr.Comprehensive3DSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=highdicom.UID(),
        series_number=_DERIVED_SERIES,
        series_description="Landmarks",
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="lmk3d",
    )
    report.save_as(path)


def _evidence(image: Path, series: str | None) -> list[Any]:
    with ExitStack() as stack:
        chosen = choose_series(image, series, stack)
        if not chosen.is_volume:
            raise InputError(
                f"{image}: is a radiograph without a place in space, so a DICOM report of 3D points cannot refer to "
                "it; choose another format"
            )
        entries = list({frame.entry: None for frame in chosen.frames})
        first, *others = entries
        evidence = [pydicom_dataset(first), *(pydicom_dataset(entry, tags=_EVIDENCE) for entry in others)]
    with naming(first):
        _complete(evidence, entries)
    frames = {str(dataset.FrameOfReferenceUID) for dataset in evidence}
    if len(frames) > 1:
        raise InputError(f"{image}: its images are in {len(frames)} frames of reference; give the files of one")
    return evidence


def _complete(evidence: list[Any], entries: list[Entry]) -> None:
    """Give the headers what a report must have of them."""
    for entry, dataset in zip(entries, evidence, strict=True):
        for tag in ("SOPClassUID", "SOPInstanceUID"):  # anonymisers may empty these, and leave them before the data set
            if not dataset.get(tag):
                setattr(dataset, tag, dataset.file_meta.get(f"MediaStorage{tag}"))
        if lacking := next((tag for tag in _EVIDENCE if not dataset.get(tag)), None):
            raise InputError(f"{entry}: has no {lacking}, so a DICOM report cannot refer to it; choose another format")
    evidence[0].decode()
    evidence[0].SpecificCharacterSet = "ISO_IR 192"  # UTF-8, since a landmark may have any name
    for tag in _OF_PATIENT:  # which anonymisers take away, and the report must have, if empty
        if tag not in evidence[0]:
            setattr(evidence[0], tag, None)


def _remarks(landmarks: Landmarks) -> list[Any]:
    """The verdict on the scan, its reasons, and the notes, as content items of the report."""
    assessment = landmarks.assessment
    found = [] if assessment is None else [_trust(assessment.verdict), *(map(_why, assessment.reasons))]
    return [*found, *(_text(_COMMENT, note) for note in landmarks.notes)]


def _trust(word: str) -> Any:
    from highdicom.sr import CodeContentItem

    return CodeContentItem(_code(*_TRUST), _code(_TRUST_CODES[word], _OWN, word), relationship_type="CONTAINS")


def _why(reason: str) -> Any:
    return _text(_WHY, reason)


def _text(what: tuple[str, str, str], text: str) -> Any:
    from highdicom.sr import TextContentItem

    return TextContentItem(_code(*what), text, relationship_type="CONTAINS")


def _group(landmarks: Landmarks, row: int, frame_uid: str) -> Any:
    from highdicom import UID, sr

    name, coverage = landmarks.names[row], landmarks.coverage
    known = landmarks.error_mm is not None and not np.isnan(landmarks.error_mm[row])
    shares = None if coverage is None or not known else np.full(len(landmarks), coverage)
    common: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid=UID(), identifier=name),
        # The code of a name is made from it: the same in each report.
        "finding_type": _code(hashlib.sha256(name.encode()).hexdigest()[:12], _OWN, name[:_LONGEST_MEANING]),
        "measurements": [
            sr.Measurement(name=_code(*what), value=factor * float(values[row]), unit=_code(*unit))
            for what, values, factor, unit in (
                (_CERTAINTY, landmarks.confidence, 100.0, _PERCENT),
                (_ERROR if coverage is None else _RADIUS, landmarks.error_mm, 1.0, _MM),
                (_COVERAGE, shares, 100.0, _PERCENT),
            )
            if values is not None and not np.isnan(values[row])
        ],
    }
    if not landmarks.present[row]:
        said = _UNKNOWN if landmarks.held_back[row] else _ABSENT
        absent = sr.QualitativeEvaluation(name=_code(*_PRESENCE), value=_code(*said))
        group = sr.MeasurementsAndQualitativeEvaluations(**common, qualitative_evaluations=[absent])
    else:
        point_lps = convert_frame(landmarks.points_mm[row], "LPS")
        region = sr.ImageRegion3D("POINT", point_lps.reshape(1, 3), frame_uid)
        group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(**common, referenced_region=region)
    word, why = trust_of(landmarks, row)
    group[0].ContentSequence.extend([*([_trust(word)] if word else []), *([_why(why)] if why else [])])
    return group


def _code(value: str, scheme: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)


def _version() -> str:
    try:
        return version("lmk3d")
    except PackageNotFoundError:
        return ""


def read_points_sr(path: Path) -> Landmarks:
    """Read the points of a structured report: each SCOORD3D POINT in a measurement group, whoever wrote it.

    A point is named by its group's tracking identifier, or else by its finding.

    Raises:
        InputError: if it is no such report, or has points in several frames of reference.
    """
    report = pydicom_dataset(Entry(path))
    with naming(Entry(path)):
        return _points_of(report, path)


def _points_of(report: Any, path: Path) -> Landmarks:
    if not report.get("ContentSequence"):
        what = "a DICOM image" if report.get("Rows") else "no DICOM structured report"
        raise InputError(f"{path}: is {what} and holds no points; give a structured report (TID 1500)")
    rows, frames = PointRows(), set()
    for item in report.ContentSequence:
        if _concept(item) == _COMMENT[:2] and item.get("TextValue"):
            rows.note(str(item.TextValue))
    groups = [item for item in _items(report) if _concept(item) == _GROUP[:2]]
    for number, group in enumerate(groups, 1):
        items = list(_items(group))
        points = [item for item in items if item.get("GraphicType") == "POINT" and item.get("ValueType") == "SCOORD3D"]
        gone = (_ABSENT[:2], _UNKNOWN[:2])
        absent = any(_concept(item) == _PRESENCE[:2] and _meant(item) in gone for item in items)
        frames |= {str(point.get("ReferencedFrameOfReferenceUID", "")) for point in points}
        said = _said(items)
        positions: list[Any] = [list(point.GraphicData) for point in points]
        for position in positions or ([None] if absent else []):
            rows.add(_name(items, number), position, "LPS", said, f"{path}, group {number}")
    if not rows.names:
        raise InputError(f"{path}: none of its {len(groups)} measurement groups holds a 3D point; give another report")
    if len(frames) > 1:
        raise InputError(f"{path}: has points in {len(frames)} frames of reference; give a report of one")
    return rows.landmarks()


def _said(items: list[Any]) -> Said:
    """What a group says of its point beside the place."""
    certainty, error_mm, radius, share = (_number(items, what) for what in (_CERTAINTY, _ERROR, _RADIUS, _COVERAGE))
    words = {(value, _OWN): word for word, value in _TRUST_CODES.items()}
    trust = next((words.get(_meant(item) or ("", "")) for item in items if _concept(item) == _TRUST[:2]), None)
    why = next((str(item.TextValue) for item in items if _concept(item) == _WHY[:2] and item.get("TextValue")), None)
    return Said(
        None if certainty is None else certainty / 100,
        error_mm if radius is None else radius,
        None if share is None else share / 100,
        trust,
        why,
    )


def _items(parent: Any) -> Iterator[Any]:
    """All content items below one, in their order."""
    for item in parent.get("ContentSequence") or []:
        yield item
        yield from _items(item)


def _concept(item: Any, sequence: str = "ConceptNameCodeSequence") -> tuple[str, str] | None:
    codes = item.get(sequence)
    return (str(codes[0].get("CodeValue", "")), str(codes[0].get("CodingSchemeDesignator", ""))) if codes else None


def _meant(item: Any) -> tuple[str, str] | None:
    return _concept(item, "ConceptCodeSequence")


def _number(items: list[Any], what: tuple[str, str, str]) -> float | None:
    for item in items:
        values = item.get("MeasuredValueSequence")
        if values and _concept(item) == what[:2]:
            exact = values[0].get("FloatingPointValue")
            return float(values[0].NumericValue if exact is None else exact)
    return None


def _name(items: list[Any], number: int) -> str:
    for item in items:
        if _concept(item) == _TRACKING[:2] and item.get("TextValue"):
            return str(item.TextValue)
    for item in items:
        if _concept(item) == _FINDING[:2] and item.get("ConceptCodeSequence"):
            return str(item.ConceptCodeSequence[0].get("CodeMeaning", ""))
    return f"point {number}"
