from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk3d.errors import InputError
from lmk3d.io.text import (
    brief,
    check_keys,
    convert_frame,
    csv_cell,
    parse_frame,
    parse_number,
    plain_cell,
    read_json,
    read_text,
)


def test_byte_order_mark_is_dropped_and_line_ends_are_kept(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa\r\nb")
    assert read_text(tmp_path / "a") == "a\r\nb"


def test_files_that_are_no_text_are_named(tmp_path):
    (tmp_path / "a").write_bytes(b"\xe9\x00")
    with pytest.raises(InputError, match="a: is no text in UTF-8"):
        read_text(tmp_path / "a")
    (tmp_path / "a").write_bytes("a".encode("utf-16"))
    with pytest.raises(InputError, match="a: is text in UTF-16; save it again as UTF-8"):
        read_text(tmp_path / "a")
    (tmp_path / "a").write_bytes("a".encode("utf-16-le"))
    with pytest.raises(InputError, match="a: has NUL characters"):
        read_text(tmp_path / "a")
    with pytest.raises(InputError, match="b: no such file"):
        read_text(tmp_path / "b")
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path)


def test_broken_json_is_named_with_its_line(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1,\n"b" 2}', encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.json, line 2, column 5: is no valid JSON: Expecting ':'"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(InputError, match=r"b\.json: is nested too deeply"):
        read_json(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"a": [1,\n 2, ],\n "b": 3}', "line 2, column 3: is no valid JSON: .*remove the comma"),
        ('{"a": 1,\r\n\r\n}', "line 1, column 8: .*remove the comma"),
        ("{'a': 1}", "line 1, column 2: .*single quotes; write double quotes"),
        ("{\u201ca\u201d: 1}", "column 2: .*typographic quotes"),
        ('{"a": 1 // one\n}', "column 9: .*has a comment.*remove it"),
        ("# one\n{}", "column 1: .*has a comment"),
        ('{"a": nan}', "column 7: .*has no number; write null"),
        ('{"a": True}', "column 7: .*as in Python; write true, false or null"),
        ("{a: 1}", "column 2: .*a key without quotes"),
        ('{"a": .5}', r"column 7: .*write 0\.5"),
        ('{"a": "b\nc"}', "column 9: .*line break or tab inside a text"),
        (r'{"a": "C:\data"}', "column 10: .*single backslash; write /"),
        ('{"a": "b', "column 7: .*without its closing quote"),
        ('{"a": [1, 2', "column 12: .*ends too early"),
        ('{"a": 1}}', "column 9: .*goes on after its end"),
        (" \n", "column 1: .*the file is empty"),
        ('{"a": ' + "1" * 5000 + "}", "has a number of thousands of digits"),
        (r'{"a": "\ud800"}', r"has half of a surrogate pair"),
    ],
)
def test_usual_mistakes_in_json_are_named_with_their_place_and_remedy(tmp_path, text, match):
    (tmp_path / "a.json").write_bytes(text.encode())
    with pytest.raises(InputError, match=rf"a\.json(, |: ).*{match}"):
        read_json(tmp_path / "a.json")


def test_windows_line_ends_marks_and_escaped_pairs_are_json(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a":\r\n "\\ud83d\\ude00"}\r\n')
    assert read_json(tmp_path / "a.json") == {"a": "\U0001f600"}


def test_a_key_doubled_among_very_many_is_found_at_once(tmp_path):
    pairs = ",".join(f'"{row}": 1' for row in (*range(200_000), 199_999))
    (tmp_path / "a.json").write_text("{" + pairs + "}", encoding="utf-8")
    with pytest.raises(InputError, match="key '199999' stands twice"):
        read_json(tmp_path / "a.json")


def test_what_errors_quote_is_short():
    assert len(brief("a" * 10_000)) < 100
    deep: list[object] = []
    for _ in range(50):
        deep = [deep] * 50
    assert len(brief(deep)) < 200


@given(st.text())
def test_every_text_comes_back_from_a_cell_and_no_cell_is_a_formula(text):
    assert plain_cell(csv_cell(text)) == text
    assert plain_cell(csv_cell(csv_cell(text))) == csv_cell(text)
    assert csv_cell(text)[:1] not in {*"=+-@\t\r\n"}


def test_unknown_key_names_the_nearest():
    check_keys({"image": 1}, {"image", "points"}, "a.json")
    with pytest.raises(InputError, match=r"a\.json: key 'pionts' is unknown; did you mean 'points'\?"):
        check_keys({"pionts": 1}, {"image", "points"}, "a.json")
    with pytest.raises(InputError, match="key 'xyz' is unknown; known are image, points"):
        check_keys({"xyz": 1}, {"image", "points"}, "a.json")


def test_frames_are_two():
    assert parse_frame(" lps ", "a") == "LPS"
    assert parse_frame("RAS", "a") == "RAS"
    with pytest.raises(InputError, match="line 3: frame 'LAS' is unknown; write RAS or LPS"):
        parse_frame("LAS", "line 3")


@pytest.mark.parametrize(("value", "number"), [("1.5", 1.5), (" -2e3 ", -2000), (7, 7), (0.1, 0.1)])
def test_numbers_are_read(value, number):
    assert parse_number(value, "x", "a") == number


@pytest.mark.parametrize("value", [None, "", "nan", math.nan])
def test_nothing_is_nan(value):
    assert math.isnan(parse_number(value, "x", "a"))


@pytest.mark.parametrize("value", ["1,5", "1_000", "\u0661", "inf", "-1e999", "one", True, [1]])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(InputError, match=r"a, line 2: x is .*; write a finite number"):
        parse_number(value, "x", "a, line 2")


def test_json_that_names_a_key_twice_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"training": [1], "test": [], "training": []}', encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.json: key 'training' stands twice in one object; keep one of them"):
        read_json(tmp_path / "a.json")


def test_lps_turns_two_axes_round_and_makes_no_negative_zero():
    found = convert_frame([[1, -2, 3], [0, 0, 0], [np.nan] * 3], "LPS")
    np.testing.assert_array_equal(found, [[-1, 2, 3], [0, 0, 0], [np.nan] * 3])
    assert not np.signbit(found[1]).any()
    np.testing.assert_array_equal(convert_frame([[1, -2, 3]], "RAS"), [[1, -2, 3]])
