from __future__ import annotations

import csv
import json

import pytest

from lmk3d.apps.results import write_result
from lmk3d.errors import InputError


class Angles:
    def as_dict(self):
        return {"angles": {"a": 1.5}}

    def rows(self):
        return [{"name": "a", "value": 1.5}, {"name": "b,c", "value": 0.1 + 0.2}]


def test_json_holds_the_dict_and_csv_the_rows(tmp_path):
    write_result(Angles(), tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"angles": {"a": 1.5}}
    write_result(Angles(), tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["a", "b,c"]
    assert float(rows[1]["value"]) == 0.1 + 0.2


def test_points_that_are_not_trusted_are_named_in_both(tmp_path):
    write_result(Angles(), tmp_path / "a.json", untrusted=["sella", "nasion"])
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["untrusted"] == ["sella", "nasion"]
    write_result(Angles(), tmp_path / "a.csv", untrusted=["sella", "nasion"])
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert {row["untrusted"] for row in csv.DictReader(file)} == {"sella nasion"}


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a.xls: results are written as .json or .csv"):
        write_result(Angles(), tmp_path / "a.xls")
    assert not list(tmp_path.iterdir())
