"""Patients' names and ids: known from DICOM headers, so that they can be taken out of what is printed and written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
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
# A directory of files or a damaged one names nobody, and the files beside it do.
_MOST_HEADERS = 20


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
    with ExitStack() as stack:
        entries = islice(_entries(image, stack), _MOST_HEADERS)
        while True:
            try:  # whatever is wrong with a file, reading the image says it; here it only names nobody
                entry = next(entries, None)
                if entry is None:
                    return Patient()
                words, series = _words(entry)
            except InputError:
                continue
            if words:
                break
    digest = hashlib.sha256((series or str(image)).encode("utf-8", "surrogateescape")).hexdigest()
    return Patient(tuple(sorted(words, key=lambda word: (-len(word), word))), f"patient-{digest[:8]}")


def _words(entry: Entry) -> tuple[set[str], str]:
    """The patient's names and ids in one header, and the UID of its series."""
    from lmk3d.io.dicom_frames import naming, pydicom_dataset

    header = pydicom_dataset(entry, tags=[*_NAMES, *_IDS, "SeriesInstanceUID"])
    words: set[str] = set()
    with naming(entry):
        for tag in _NAMES:
            for name in _values(header, tag):
                parts = [part for part in re.split(r"[\^=\s,_.]+", name) if part]
                joined = ["".join(pair) for pair in (parts[:2], parts[1::-1])]
                words |= {word for word in (*parts, *joined) if len(word) >= _SHORTEST_NAME}
        for tag in _IDS:
            words |= {value for value in _values(header, tag) if len(value) >= _SHORTEST_ID}
        return words, str(header.get("SeriesInstanceUID") or "")


def _values(header: Any, tag: str) -> list[str]:
    value = header.get(tag)
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [str(one).strip() for one in several if one]


def _entries(image: Path, stack: ExitStack) -> Iterator[Entry]:
    """The DICOM files of the image; none where it is no DICOM."""
    from lmk3d.io.dicom import is_dicom
    from lmk3d.io.dicom_archive import hidden, members
    from lmk3d.io.dicom_frames import Entry

    if image.is_dir():
        files = (path for path in sorted(image.rglob("*")) if not hidden(path.relative_to(image)) and path.is_file())
        yield from (Entry(path) for path in files if is_dicom(path))
    elif image.suffix.lower() == ".zip":
        yield from members(image, stack)
    elif is_dicom(image):
        yield Entry(image)
