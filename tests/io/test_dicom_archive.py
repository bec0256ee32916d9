from __future__ import annotations

import random
import struct
import time
import zipfile
from contextlib import ExitStack, suppress
from pathlib import PurePosixPath

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io import read_image
from lmk3d.io.dicom_archive import hidden, members
from lmk3d.io.patients import patient_of

pytest.importorskip("pydicom")


def names(path):
    with ExitStack() as stack:
        return [entry.member for entry in members(path, stack)]


@pytest.fixture
def archive(tmp_path, write_slice):
    """Packs three slices and what else is given into an archive."""

    def pack(others=(), *, packing=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", packing) as opened:
            for z in range(3):
                path = write_slice(tmp_path / f"{z}.dcm", z=z, pixels=np.arange(20).reshape(4, 5))
                opened.write(path, f"study/{z}")
            for name, content in others:
                opened.writestr(name, content)
        return tmp_path / "a.zip"

    return pack


def test_dicom_is_found_by_its_bytes_or_ending_and_what_is_hidden_is_left_out(archive):
    preamble = bytes(128) + b"DICM"
    others = [("b.dcm", b"x"), ("readme", b"DICM"), ("__MACOSX/._0.dcm", preamble), (".x/0", preamble), ("f/", b"")]
    assert names(archive(others)) == ["b.dcm", "study/0", "study/1", "study/2"]
    assert hidden(PurePosixPath("__MACOSX/a"))
    assert not hidden(PurePosixPath("a.b/c"))


def test_large_and_many_other_members_cost_nothing(archive):
    others = [("film.avi", bytes(300 << 20)), *((f"n/{number}", b"") for number in range(5000))]
    path = archive(others)
    begin = time.monotonic()
    assert read_image(path).data.shape == (5, 4, 3)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_packing_is_unpacked(archive, compression):
    assert read_image(archive(packing=compression)).data[:, :, 1].T.tolist() == np.arange(20).reshape(4, 5).tolist()


def test_bomb_is_named_before_it_is_unpacked(archive):
    path = archive([("z.dcm", bytes(128) + b"DICM" + bytes(300 << 20))])
    with pytest.raises(InputError, match=r"a\.zip \(z\.dcm\): unpacks to 0\.3 GiB, which no image needs"):
        read_image(path)
    assert patient_of(path).words == ()


def test_too_many_members_are_refused(archive, monkeypatch):
    monkeypatch.setattr("lmk3d.io.dicom_archive._MOST_MEMBERS", 10)
    with pytest.raises(InputError, match=r"a\.zip: holds 11 files, more than a study has \(10\)"):
        names(archive([(f"{number}", b"") for number in range(8)]))


def test_member_that_is_larger_than_the_directory_says_is_damaged(archive):
    path = archive()
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 400)  # of the file when unpacked
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip \(study/2\): is no DICOM file, or a damaged one \(Bad CRC-32"):
        read_image(path)


def test_password_is_told(archive):
    path = archive()
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.index(mark)
        content[place + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip \(study/0\): .*encrypted, password required"):
        read_image(path)


def test_damage_anywhere_raises_no_other_error(archive):
    path = archive()
    whole, chance = path.read_bytes(), random.Random(3)
    whole_ones = 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 3])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.choice([None, chance.randrange(len(content))])])
        patient_of(path)
        with suppress(InputError):
            read_image(path)
            whole_ones += 1
    assert 0 < whole_ones < 200


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_all_read(tmp_path, write_slice):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        for z in range(4):
            opened.write(write_slice(tmp_path / "one", z=z, pixels=np.full((4, 5), z)), "a.dcm")
    assert read_image(tmp_path / "a.zip").data[0, 0].tolist() == [0, 1, 2, 3]
