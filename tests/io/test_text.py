from __future__ import annotations

import math

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.io.text import check_keys, convert_frame, parse_frame, parse_number, read_json, read_text


def test_byte_order_mark_is_dropped_and_line_ends_are_kept(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa\r\nb")
    assert read_text(tmp_path / "a") == "a\r\nb"


def test_files_that_are_no_text_are_named(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="a: is no text in UTF-8"):
        read_text(tmp_path / "a")
    with pytest.raises(InputError, match="b: no such file"):
        read_text(tmp_path / "b")
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path)


def test_broken_json_is_named_with_its_line(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1,\n"b" 2}', encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.json, line 2: is no valid JSON \(Expecting ':'"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(InputError, match=r"b\.json: is nested too deeply"):
        read_json(tmp_path / "b.json")


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


@pytest.mark.parametrize("value", ["1,5", "inf", "-1e999", "one", True, [1]])
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
