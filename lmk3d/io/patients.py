"""Patients' names and ids: known from DICOM headers, so that they can be taken out of what is printed and written."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmk3d.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.io.dicom_frames import Entry

__all__ = ["Patient", "patient_of"]

_NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName")
_IDS = ("PatientID", "OtherPatientIDs", "PatientBirthDate")
# Shorter ones would be found in every path: a patient called Li, or number 7.
_SHORTEST_NAME, _SHORTEST_ID = 2, 3


@dataclass(frozen=True)
class Patient:
    """Whose image it is, as far as needed to keep that out of sight.

    Args:
        words: names and ids, the longest first.
        pseudonym: what stands in their place.

    >>> Patient(("Doe", "123456"), "patient-1f0c").hide("out/DOE_Jane/123456.csv: no file")
    'out/patient-1f0c_Jane/patient-1f0c.csv: no file'
    """

    words: tuple[str, ...] = ()
    pseudonym: str = "patient"

    def hide(self, text: str) -> str:
        """The text with the pseudonym in the place of each word, however it is written; parts of words stay."""
        if not self.words:
            return text
        either = "|".join(re.escape(word) for word in self.words)
        hidden = re.sub(rf"(?<![^\W_])(?:{either})(?![^\W_])", self.pseudonym, text, flags=re.IGNORECASE)
        again = re.escape(self.pseudonym)
        return re.sub(rf"{again}(?:[\s_^,=.-]*{again})+", self.pseudonym, hidden)  # Doe_Jane is one patient


def patient_of(image: Path) -> Patient:
    """The patient in the DICOM header of an image; nobody for other formats and for headers that cannot be read.

    The pseudonym is made from the series' UID: the same in each run, and of no use to who does not have the images.
    """
    from lmk3d.io.dicom import BAD_ARCHIVE
    from lmk3d.io.dicom_frames import pydicom_dataset

    try:
        with ExitStack() as stack:
            entry = _first_entry(image, stack)
            if entry is None:
                return Patient()
            header = pydicom_dataset(entry, tags=[*_NAMES, *_IDS, "SeriesInstanceUID"])
    except (InputError, *BAD_ARCHIVE):
        return Patient()  # whatever is wrong with the file, reading the image says it; here it only names nobody
    words: set[str] = set()
    for tag in _NAMES:
        for name in _values(header, tag):
            parts = [part for part in re.split(r"[\^=\s,_.]+", name) if part]
            joined = ["".join(pair) for pair in (parts[:2], parts[1::-1])]
            words |= {word for word in (*parts, *joined) if len(word) >= _SHORTEST_NAME}
    for tag in _IDS:
        words |= {value for value in _values(header, tag) if len(value) >= _SHORTEST_ID}
    if not words:
        return Patient()
    series = str(header.get("SeriesInstanceUID") or image)
    digest = hashlib.sha256(series.encode()).hexdigest()
    return Patient(tuple(sorted(words, key=lambda word: (-len(word), word))), f"patient-{digest[:8]}")


def _values(header: Any, tag: str) -> list[str]:
    value = header.get(tag)
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [str(one).strip() for one in several if one]


def _first_entry(image: Path, stack: ExitStack) -> Entry | None:
    """A DICOM file of the image; None where it is no DICOM."""
    from lmk3d.io.dicom import is_dicom
    from lmk3d.io.dicom_frames import Entry

    if image.is_dir():
        files = (path for path in sorted(image.rglob("*")) if path.name[0] != "." and path.is_file())
        return next((Entry(path) for path in files if is_dicom(path)), None)
    if image.suffix.lower() != ".zip":
        return Entry(image) if is_dicom(image) else None
    archive = stack.enter_context(zipfile.ZipFile(image))
    for member in sorted(archive.namelist()):
        with archive.open(member) as file:
            if file.read(132)[128:] == b"DICM":
                return Entry(image, member, archive)
    return None
