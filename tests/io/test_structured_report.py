from __future__ import annotations

import builtins
import random
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.errors import InputError
from lmk3d.io import read_points, write_points
from lmk3d.landmarks import Assessment, Landmarks

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

POINTS = Landmarks(
    (
        "aortic root — Ø",
        "tip",
        "gone",
        "tip",
        "a name that is far longer than the sixty-four characters of a code meaning",
    ),
    [[1.23456789, -2, 999.9999], [3, 4, 5], [np.nan] * 3, [-600.5, 7, 8], [1 / 3, 0, -1e3]],
    confidence=[0.123456789, 0.5, 0.01, np.nan, 1],
    error_mm=[1.5, np.nan, np.nan, 2 / 7, 0],
)


@pytest.fixture
def series(write_series, tmp_path):
    return write_series(tmp_path / "ct", PatientName="Müller^Jane", PatientID="4711")


def test_report_reads_back_to_the_same_points(series, tmp_path):
    write_points(POINTS, tmp_path / "points.dcm", image=series)
    found = read_points(tmp_path / "points.dcm")
    assert found.names == POINTS.names
    assert_allclose(found.points_mm, POINTS.points_mm, atol=1e-4)  # float32 at 1 m
    assert_allclose(found.confidence, POINTS.confidence, atol=1e-12)
    assert_allclose(found.error_mm, POINTS.error_mm)


@pytest.mark.parametrize("seed", range(3))
def test_points_of_any_kind_come_back(seed, series, tmp_path, random_landmarks):
    points = random_landmarks(np.random.default_rng(seed), ["a", "b", "b", "c", "d"])
    write_points(points, tmp_path / "points.sr.dcm", image=series)
    found = read_points(tmp_path / "points.sr.dcm")
    assert_allclose(found.points_mm, points.points_mm, atol=1e-3)
    for measure in ("confidence", "error_mm"):
        if getattr(points, measure) is None:
            assert getattr(found, measure) is None
        else:
            assert_allclose(getattr(found, measure), getattr(points, measure))


def test_report_is_tid_1500_in_the_study_and_frame_of_its_images(series, tmp_path):
    write_points(POINTS, tmp_path / "points.dcm", image=series / "1.dcm")
    report, image = pydicom.dcmread(tmp_path / "points.dcm"), pydicom.dcmread(series / "0.dcm")
    assert report.SOPClassUID.name == "Comprehensive 3D SR Storage"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert report.StudyInstanceUID == image.StudyInstanceUID
    assert report.SeriesInstanceUID != image.SeriesInstanceUID
    assert (str(report.PatientName), report.PatientID) == ("Müller^Jane", "4711")
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (evidence,) = study.ReferencedSeriesSequence
    assert evidence.SeriesInstanceUID == image.SeriesInstanceUID
    assert len(evidence.ReferencedSOPSequence) == 3
    points = [item for item in report.iterall() if item.keyword == "GraphicData"]
    assert_allclose(points[0].value, [-1.23456789, 2, 999.9999], rtol=1e-6)  # RAS to LPS
    frames = {str(item.value) for item in report.iterall() if item.keyword == "ReferencedFrameOfReferenceUID"}
    assert frames == {image.FrameOfReferenceUID}


ASSESSED = {
    "trusted": Assessment((), ("",) * 5),
    "doubtful": Assessment((), ("", "far off", "", "", "")),
    "unlike the training data": Assessment(("intensities are those of no CT",), ("", "far off", "", "", "")),
}


@pytest.mark.parametrize("verdict", ASSESSED)
def test_report_says_how_far_points_are_trusted_and_what_to_know(verdict, series, tmp_path):
    points = replace(POINTS, assessment=ASSESSED[verdict], coverage=0.9, notes=("trained on phantoms alone",))
    write_points(points, tmp_path / "points.dcm", image=series)
    found = read_points(tmp_path / "points.dcm")
    assert found.assessment == points.assessment
    assert found.notes == points.notes
    report = pydicom.dcmread(tmp_path / "points.dcm")
    own = [(item.ConceptNameCodeSequence[0].CodeMeaning, item) for item in report.ContentSequence]
    (said,) = [item.ConceptCodeSequence[0].CodeMeaning for name, item in own if name == "Trust"]
    assert said == verdict
    assert [item.TextValue for name, item in own if name == "Comment"] == ["trained on phantoms alone"]
    errors = [np.nan] * 5 if points.assessment.reasons else np.where(points.trusted, POINTS.error_mm, np.nan)
    if points.assessment.reasons:
        assert found.error_mm is None
    else:
        assert_allclose(found.error_mm, errors)
        assert found.coverage == 0.9


@pytest.mark.parametrize("verdict", ["doubtful", "unlike the training data"])
def test_a_point_that_was_withheld_is_not_called_absent(series, tmp_path, verdict):
    points = replace(POINTS, assessment=ASSESSED[verdict]).withheld()
    write_points(points, tmp_path / "points.dcm", image=series)
    report = pydicom.dcmread(tmp_path / "points.dcm")
    found = {}
    for group in groups_of(report):
        values = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in group.ContentSequence}
        if "Presence" in values:
            found[values["Tracking Identifier"].TextValue] = values["Presence"].ConceptCodeSequence[0].CodeMeaning
    held_back = {"doubtful": {"tip"}, "unlike the training data": set(POINTS.names) - {"gone"}}[verdict]
    assert found == dict.fromkeys(held_back, "Unknown") | {"gone": "Absent"}
    back = read_points(tmp_path / "points.dcm")
    assert back.present.tolist() == points.present.tolist()
    assert back.held_back.tolist() == points.held_back.tolist()


def groups_of(report):
    (container,) = [
        item for item in report.ContentSequence if item.get("ContentSequence") and item.ValueType == "CONTAINER"
    ]
    return container.ContentSequence


def test_uids_that_an_anonymiser_has_emptied_come_from_before_the_data_set(series, tmp_path):
    uids = set()
    for path in series.iterdir():
        image = pydicom.dcmread(path)
        uids.add(str(image.SOPInstanceUID))
        image.SOPClassUID = image.SOPInstanceUID = ""
        image.save_as(path, enforce_file_format=False)
    write_points(POINTS, tmp_path / "points.dcm", image=series)
    report = pydicom.dcmread(tmp_path / "points.dcm")
    assert {str(item.value) for item in report.iterall() if item.keyword == "ReferencedSOPInstanceUID"} == uids


def test_highdicom_reads_the_report(series, tmp_path):
    from highdicom.sr import srread

    write_points(POINTS, tmp_path / "points.dcm", image=series)
    groups = srread(tmp_path / "points.dcm").content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [
        name for name, there in zip(POINTS.names, POINTS.present, strict=True) if there
    ]
    assert_allclose(groups[1].roi.value, [[-3, -4, 5]])


def test_what_no_report_can_refer_to_is_refused(series, write_series, tmp_path, monkeypatch):
    def refused(match, points=POINTS, image=series):
        with pytest.raises(InputError, match=match):
            write_points(points, tmp_path / "points.dcm", image=image)
        assert not (tmp_path / "points.dcm").exists()

    (tmp_path / "scan.nii.gz").write_bytes(b"")
    refused(r"scan\.nii\.gz: is no DICOM, so a DICOM report has nothing to refer to", image=tmp_path / "scan.nii.gz")
    refused("its points are in px", Landmarks(("a",), [[1, 2, 3]], unit="px"))
    refused("there are no points", POINTS.rows([]))
    refused("say which the points lie in", image=None)
    emptied = write_series(tmp_path / "emptied", StudyInstanceUID="")
    refused(r"0\.dcm: has no StudyInstanceUID", image=emptied)
    lost = write_series(tmp_path / "lost", FrameOfReferenceUID=None)
    refused(r"0\.dcm: has no FrameOfReferenceUID", image=lost)
    place = {"ImagePositionPatient": None, "ImageOrientationPatient": None}  # as radiographs are, frame or not
    flat = write_series(tmp_path / "flat", slices=1, **place)
    refused(r"flat: is a radiograph without a place in space, .* choose another format", image=flat)
    real = builtins.__import__

    def without_highdicom(name, *rest):
        if name.startswith("highdicom"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_highdicom)
    refused(r"install it with `pip install 'lmk3d\[sr\]'`")


def test_damaged_reports_are_one_line(series, tmp_path):
    path = tmp_path / "points.dcm"
    write_points(POINTS, path, image=series)
    whole, chance, readable = path.read_bytes(), random.Random(1), 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(8):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        with suppress(InputError):
            read_points(path)
            readable += 1
    assert 0 < readable < 150


def test_what_is_no_report_is_said(series, tmp_path):
    with pytest.raises(InputError, match=r"0\.dcm: is a DICOM image and holds no points"):
        read_points(series / "0.dcm")
    (tmp_path / "text.dcm").write_text("hello, this is no DICOM file at all", encoding="utf-8")
    with pytest.raises(InputError, match=r"text\.dcm: is no DICOM"):
        read_points(tmp_path / "text.dcm")
    write_points(POINTS.rows([1]), tmp_path / "empty.dcm", image=series)
    report = pydicom.dcmread(tmp_path / "empty.dcm")
    report.ContentSequence = report.ContentSequence[:1]
    report.save_as(tmp_path / "empty.dcm")
    with pytest.raises(InputError, match="none of its 0 measurement groups holds a 3D point"):
        read_points(tmp_path / "empty.dcm")
    write_points(POINTS, tmp_path / "points.dcm", image=series)
    with pytest.raises(InputError, match="DICOM is always LPS"):
        read_points(tmp_path / "points.dcm", frame="RAS")


def test_reports_of_others_are_read_by_their_findings(series, tmp_path):
    write_points(POINTS.rows([1, 4]), tmp_path / "points.dcm", image=series)
    report = pydicom.dcmread(tmp_path / "points.dcm")

    def drop_tracking(parent):
        children = parent.get("ContentSequence") or []
        for item in list(children):
            concepts = item.get("ConceptNameCodeSequence")
            if concepts and concepts[0].get("CodeValue") in ("112039", "111012"):
                children.remove(item)
            drop_tracking(item)

    drop_tracking(report)
    report.save_as(tmp_path / "points.dcm")
    found = read_points(tmp_path / "points.dcm")
    assert found.names == ("tip", POINTS.names[4][:64])
    assert found.confidence is None
    first = next(item for item in report.iterall() if item.keyword == "ReferencedFrameOfReferenceUID")
    first.value = "1.2.3"
    report.save_as(tmp_path / "points.dcm")
    with pytest.raises(InputError, match="points in 2 frames of reference"):
        read_points(tmp_path / "points.dcm")
