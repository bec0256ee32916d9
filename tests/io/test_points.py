from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk3d.errors import InputError
from lmk3d.io import POINT_FORMATS, read_points, write_points
from lmk3d.landmarks import Landmarks

# Anything a person may type; .fcsv has a line for each point, so no line breaks there.
NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12), max_size=6)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("ending", POINT_FORMATS)
@given(names=NAMES, seed=SEEDS, unit=st.sampled_from(["mm", "px"]))
@settings(max_examples=25, deadline=None)
def test_every_format_keeps_everything(tmp_path_factory, random_landmarks, ending, names, seed, unit):
    names = [name for name in names if name.strip()]
    if ending == ".fcsv":
        names = [name for name in names if not set(name) & set("\r\n")]
    if not names and ending in (".csv", ".tsv", ".txt"):
        unit = "mm"  # a table without rows says no unit
    landmarks = random_landmarks(np.random.default_rng(seed), names, unit)
    path = tmp_path_factory.mktemp("points") / f"a{ending}"
    write_points(landmarks, path)
    found = read_points(path)
    assert found.names == landmarks.names
    assert found.unit == landmarks.unit
    np.testing.assert_array_equal(found.points_mm, landmarks.points_mm)
    for measure in ("confidence", "error_mm"):
        expected = getattr(landmarks, measure)
        if names and expected is not None:
            np.testing.assert_array_equal(getattr(found, measure), expected)
        elif names:
            assert getattr(found, measure) is None


@pytest.mark.parametrize("first", POINT_FORMATS)
@pytest.mark.parametrize("second", POINT_FORMATS)
def test_converting_changes_nothing(tmp_path, same, first, second):
    landmarks = Landmarks(
        ("apex", "ostium, left", "ostium, left", 'the "4th"'),
        [[1 / 3, -2e-7, 1e5], [0, 0, 0], [-1.5, 2.5, 3.5], [np.nan] * 3],
        confidence=[0.1, 1, np.nan, 0],
        error_mm=[np.nan, 0, 2 / 7, 9],
    )
    write_points(landmarks, tmp_path / f"a{first}")
    write_points(read_points(tmp_path / f"a{first}"), tmp_path / f"b{second}")
    same(read_points(tmp_path / f"b{second}"), landmarks)


def test_unknown_ending_is_refused(tmp_path):
    landmarks = Landmarks(("a",), [[1, 2, 3]])
    with pytest.raises(InputError, match=r"a\.xyz: is no file of points; its name must end in \.mrk\.json, \.fcsv"):
        write_points(landmarks, tmp_path / "a.xyz")
    with pytest.raises(InputError, match=r"a\.nii: is no file of points"):
        read_points(tmp_path / "a.nii")


def test_landmark_without_a_name_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"a\.csv: a landmark has no name"):
        write_points(Landmarks((" ",), [[1, 2, 3]]), tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


def test_frame_must_be_one_of_two(tmp_path):
    with pytest.raises(InputError, match="argument frame: frame 'XYZ' is unknown"):
        read_points(tmp_path / "a.csv", frame="XYZ")


@pytest.mark.parametrize("ending", POINT_FORMATS)
def test_missing_file_is_named(tmp_path, ending):
    with pytest.raises(InputError, match=rf"a{ending}: no such file"):
        read_points(tmp_path / f"a{ending}")


@pytest.mark.parametrize("ending", POINT_FORMATS)
def test_empty_or_binary_files_are_named(tmp_path, ending):
    for content in (b"", b"\x93\xff\x00", b"\x1f\x8b\x08\x00"):
        (tmp_path / f"a{ending}").write_bytes(content)
        with pytest.raises(InputError, match=rf"a{ending}"):
            read_points(tmp_path / f"a{ending}")


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.fcsv"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(InputError, match=r"line break, which \.fcsv cannot hold"):
        write_points(Landmarks(("a\nb",), [[1, 2, 3]]), path)
    assert path.read_text(encoding="utf-8") == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.fcsv"]


PIECES = [
    b"",
    b"\0",
    b"\x1b[2J",
    b"\xff",
    b",",
    b'"',
    b"\n",
    b"nan",
    b"1e999",
    b"9" * 400,
    b"[" * 3000,
    b"null",
    b"\\ud800",
    b"=",
]


def damaged(content, generator):
    """The bytes with one to four places changed, cut out, doubled, or with a piece put in."""
    for _ in range(generator.integers(1, 5)):
        at, length = generator.integers(len(content) + 1), generator.integers(1, 20)
        put = generator.choice(len(PIECES) + 2)
        piece = PIECES[put] if put < len(PIECES) else content[at : at + length] * (put - len(PIECES) + 1)
        content = content[:at] + piece + content[at + generator.integers(length) :]
    return content


@pytest.mark.parametrize("ending", POINT_FORMATS)
def test_a_damaged_file_is_refused_in_one_error_or_comes_back_as_it_was_read(tmp_path, ending):
    points = [[1, 2, 3.5], [np.nan] * 3, [-7, 0, 1e-3]]
    write_points(Landmarks(("sella", "a_é", "L 1"), points, [0.5, 0.1, np.nan], notes=("n",)), tmp_path / f"a{ending}")
    whole, generator = (tmp_path / f"a{ending}").read_bytes(), np.random.default_rng(0)
    outcomes = set()
    for _ in range(300):
        (tmp_path / f"b{ending}").write_bytes(damaged(whole, generator))
        try:
            landmarks = read_points(tmp_path / f"b{ending}")
        except InputError:
            outcomes.add("refused")
            continue
        outcomes.add("read")
        write_points(landmarks, tmp_path / "c.json")
        back = read_points(tmp_path / "c.json")
        assert back.names == landmarks.names
        np.testing.assert_array_equal(back.points_mm, landmarks.points_mm)
    assert outcomes == {"refused", "read"}
