from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk3d.io.csv_files import csv_line, write_csv
from lmk3d.io.text import plain_cell

LETTERS = st.text("a'\"=+-@,;\t\r\n \uff1d\uff20", max_size=8)


def test_numbers_are_shortest_and_nothing_is_empty():
    cells = [0.1, -2.0, 3, np.int64(4), np.float64(0.5), math.nan, None, True, "x", ""]
    assert csv_line(cells) == "0.1,-2.0,3,4,0.5,,,True,x,"


@pytest.mark.parametrize("text", ["a;b", "a\tb", "a,b", "a\rb", 'a"b'])
def test_texts_with_any_separator_or_quote_are_quoted(text):
    assert csv_line(["x", text]) == 'x,"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_text_is_no_formula_at_its_start_nor_behind_another_separator(sign):
    assert csv_line([f"{sign}1"]) == f"'{sign}1"
    assert csv_line(["x", f"a;{sign}1"]) == f'x,"a;\'{sign}1"'


@given(st.lists(LETTERS, min_size=2, max_size=4), st.sampled_from(",;\t"))
def test_texts_come_back_as_they_were_and_no_cell_of_any_spreadsheet_is_a_formula(texts, separator):
    line = csv_line(texts)
    (cells,) = csv.reader(io.StringIO(line + "\n", newline=""), strict=True)
    assert [plain_cell(cell) for cell in cells] == texts
    assert not any(cell[:1] in {*"=+-@\uff1d\uff20"} - {""} for cell in line.split(separator))


def test_file_is_written_whole_and_replaced(tmp_path):
    path = tmp_path / "a.csv"
    for value in (1, 2.5):
        write_csv([["name", "value"], ["=x", value]], path)
    assert path.read_bytes() == b"name,value\r\n'=x,2.5\r\n"
    assert [own.name for own in tmp_path.iterdir()] == ["a.csv"]
