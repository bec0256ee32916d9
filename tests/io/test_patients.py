from __future__ import annotations

import shutil
import zipfile

import pytest

from lmk3d.io.patients import Patient, patient_of

DOE = {
    "PatientName": "Doe^Jane^M",
    "PatientID": "4711-A",
    "OtherPatientIDs": ["x", "88123"],
    "PatientBirthDate": "19701231",
}


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("cohort/Doe_Jane/1.dcm", "cohort/P/1.dcm"),
        ("cohort/DOE, JANE (4711-a)/19701231.dcm", "cohort/P (P)/P.dcm"),
        ("DoeJane.mrk.json: JaneDoe", "P.mrk.json: P"),
        ("x/88123", "x/P"),
        ("doer/janes/M/47110", "doer/janes/M/47110"),  # parts of words, and a single letter
        ("nobody", "nobody"),
    ],
)
def test_names_and_ids_are_hidden_however_they_are_written(text, hidden, write_series, tmp_path):
    patient = patient_of(write_series(tmp_path / "ct", **DOE))
    assert patient.hide(text) == hidden.replace("P", patient.pseudonym)


def test_pseudonym_is_that_of_the_series_and_says_nothing(write_series, tmp_path):
    one, two = (patient_of(write_series(tmp_path / name, **DOE)) for name in ("a", "b"))
    assert one.pseudonym != two.pseudonym
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    assert patient_of(tmp_path / "c") == one
    assert patient_of(tmp_path / "c" / "1.dcm") == one


def test_archive_tells_its_patient(write_series, tmp_path):
    write_series(tmp_path / "ct", **DOE)
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        archive.writestr("0.txt", "no image")
        archive.write(tmp_path / "ct" / "0.dcm", "0.dcm")
    assert patient_of(tmp_path / "ct.zip") == patient_of(tmp_path / "ct")


def test_what_has_no_patient_hides_nothing(tmp_path, write_series):
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    (tmp_path / "damaged.zip").write_bytes(b"no archive")
    (tmp_path / "damaged.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 20)
    for path in (tmp_path / "scan.nii.gz", tmp_path / "damaged.zip", tmp_path / "damaged.dcm"):
        assert patient_of(path) == Patient()
    assert patient_of(write_series(tmp_path / "ct")).hide("Doe") == "Doe"
