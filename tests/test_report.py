"""Tables and JSON of an evaluation."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from lmk3d.errors import InputError
from lmk3d.landmarks import Landmarks
from lmk3d.metrics import MissingScore, Summary, compare, summarise
from lmk3d.reliability import RadiusFigures, RadiusSummary
from lmk3d.report import (
    aligned,
    heading,
    read_errors,
    read_summary,
    remarks,
    summary_lines,
    summary_table,
    write_errors,
    write_points_table,
    write_summary,
)

GONE = [np.nan] * 3


def a_summary(unit="mm", missing=MissingScore(1, 2, 3)):  # noqa: B008
    result = summarise({"a<b": [1.0, 3.0, np.nan], "c": []}, sdr_mm=(0.5, 2))
    beside = {"mean shape": summarise({"a<b": [8.0], "c": [9.0]}, sdr_mm=(0.5, 2))}
    about = {"detector": "cascade 0.1", "dataset": "skulls", "section": "test"}
    return Summary(unit, 3, result, missing, beside, ("A note.",), about)


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_points_table_has_a_line_for_each_case_and_landmark(tmp_path):
    truth = Landmarks(("a", "b", "c"), [[0, 0, 0], [1, 2, 3], GONE])
    predicted = Landmarks(("a", "b", "c"), [[0, 0.5, 0], GONE, GONE], [0.9, 0.2, np.nan], [1.5, np.nan, np.nan])
    write_points_table(compare(truth, predicted, "abc", case="x,1"), tmp_path / "points.csv", unit="px")
    heads, *lines = read(tmp_path / "points.csv")
    assert heads[:7] == ["case", "landmark", "instance", "status", "error_px", "confidence", "expected_error_px"]
    assert heads[7:] == [*(f"{side}_{axis}_px" for side in ("truth", "predicted") for axis in "ras"), "trusted"]
    assert lines[0] == ["x,1", "a", "0", "found", "0.5", "0.9", "1.5", "0.0", "0.0", "0.0", "0.0", "0.5", "0.0", "yes"]
    assert lines[1] == ["x,1", "b", "0", "missed", "", "0.2", "", "1.0", "2.0", "3.0", *[""] * 4]
    assert lines[2][3:] == ["absent", *[""] * 10]
    write_points_table([], tmp_path / "radii.csv", radii=True)
    assert read(tmp_path / "radii.csv")[0][6] == "radius_mm"


def test_summary_is_written_as_csv_and_json(tmp_path):
    write_summary(a_summary(), tmp_path / "s.csv", tmp_path / "s.json")
    heads, *lines = read(tmp_path / "s.csv")
    measures = ["mean_mm", "median_mm", "std_mm", "p95_mm", "max_mm", "sdr_0.5_mm", "sdr_2_mm"]
    assert heads == ["set", "landmark", "n", "missed", *measures]
    assert [line[:2] for line in lines] == [
        [which, name] for which in ("result", "mean shape") for name in ("ALL", "a<b", "c")
    ]
    assert lines[0][2:] == ["2", "1", "2.0", "2.0", "1.0", "2.9", "3.0", "0.0", repr(1 / 3)]
    assert lines[2][2:] == ["0", "0", *[""] * 7]
    again = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert again["about"]["dataset"] == "skulls"
    assert again["missing"]["recall"] == pytest.approx(1 / 3)
    assert again["result"]["landmarks"]["c"]["mean"] is None


def with_radii():
    figures = {"a<b": RadiusFigures(2, 0.5, 1.25), "c": RadiusFigures(0, np.nan, np.nan)}
    return replace(a_summary(), radii=RadiusSummary(0.9, figures["a<b"], figures))


def test_radii_stand_in_table_summary_and_remarks(tmp_path):
    summary = with_radii()
    rows = summary_table(summary)
    assert [row[-2:] for row in rows] == [
        ["radius", "within"], ["1.25", "50.0%"], ["-", "-"], ["1.25", "50.0%"], ["-", "-"]
    ]  # fmt: skip
    assert (
        remarks(summary)[1]
        == "Radii: 50.0% of 2 found points with a radius lie within it, fewer than the 90% promised."
    )
    write_summary(summary, tmp_path / "s.csv", tmp_path / "s.json")
    heads, *lines = read(tmp_path / "s.csv")
    assert heads[-2:] == ["within_radius", "median_radius_mm"]
    assert [line[-2:] for line in lines] == [["0.5", "1.25"], ["0.5", "1.25"], *[["", ""]] * 4]
    again = read_summary(tmp_path / "s.json")
    assert again.radii.landmarks["a<b"] == summary.radii.overall == again.radii.overall
    assert again.radii.coverage == 0.9
    assert np.isnan(again.radii.landmarks["c"].within)


def test_trust_is_told_with_the_gross_failures_among_the_trusted():
    summary = replace(a_summary(), beside={"trusted points": summarise({"a<b": [3.0], "c": []}, sdr_mm=(0.5, 2))})
    assert remarks(summary)[1] == (
        "Trust: 1 of 2 found points are not trusted; of the 1 trusted ones 1 lie more than 2 mm off."
    )


def test_terminal_table_by_hand():
    lines = summary_lines(a_summary())
    assert lines[0] == "cascade 0.1, skulls, test, 3 cases; errors in mm"
    assert [line.split() for line in lines[1:6]] == [
        ["landmark", "n", "missed", "mean", "median", "sd", "p95", "max", "<=0.5", "<=2"],
        ["a<b", "2", "1", "2.00", "2.00", "1.00", "2.90", "3.00", "0.0%", "33.3%"],
        ["c", "0", "0", "-", "-", "-", "-", "-", "-", "-"],
        ["ALL", "2", "1", "2.00", "2.00", "1.00", "2.90", "3.00", "0.0%", "33.3%"],
        ["mean", "shape", "2", "0", "8.50", "8.50", "0.50", "8.95", "9.00", "0.0%", "0.0%"],
    ]
    assert len({len(line) for line in lines[1:6]}) == 1  # the columns stand in line
    assert lines[6] == (
        "Missing landmarks: 3 truly absent, 2 reported missing, 1 of them rightly; precision 0.500, recall 0.333."
    )
    assert lines[7] == "A note."


def test_errors_in_pixels_are_said_to_be_so():
    assert heading(a_summary("px")).endswith("errors in pixels, since the images have no spacing")


def test_missing_scores_that_have_no_value_are_not_invented():
    assert "precision -, recall 0.000" in summary_lines(a_summary(missing=MissingScore(0, 0, 2)))[6]
    assert "No landmark is absent" in summary_lines(a_summary(missing=MissingScore(0, 0, 0)))[6]


def test_a_summary_is_read_back_as_it_was(tmp_path):
    summary = a_summary("px")
    write_summary(summary, tmp_path / "s.csv", tmp_path / "s.json")
    again = read_summary(tmp_path / "s.json")
    assert again.as_dict() == summary.as_dict()
    assert summary_lines(again) == summary_lines(summary)
    assert summary_table(again)[3][:4] == ["ALL", "2", "1", "2.00"]
    assert remarks(again)[1:] == ["A note."]


def test_errors_of_every_set_are_read_back(tmp_path):
    errors = {"result": {"a,b": np.array([1.0, np.nan])}, "mean shape": {"a,b": np.array([8.0]), "c": np.empty(0)}}
    write_errors(errors, tmp_path / "errors.csv", unit="px")
    assert read(tmp_path / "errors.csv")[:3] == [
        ["set", "landmark", "error_px"],
        ["result", "a,b", "1.0"],
        ["result", "a,b", ""],
    ]
    again = read_errors(tmp_path / "errors.csv")
    np.testing.assert_array_equal(again["result"]["a,b"], [1.0, np.nan])
    assert list(again["mean shape"]) == ["a,b"]


@pytest.mark.parametrize("text", ["", "[]", '{"unit": "mm"}', '{"missing": 3}'])
def test_another_file_is_no_summary(text, tmp_path):
    (tmp_path / "summary.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"summary\.json: is no summary of lmk3d evaluate"):
        read_summary(tmp_path / "summary.json")


def test_names_that_a_spreadsheet_would_run_are_text_and_come_back(tmp_path):
    write_errors({"result": {"=1+1": np.array([0.5])}}, tmp_path / "e.csv")
    assert "result,'=1+1,0.5" in (tmp_path / "e.csv").read_text(encoding="utf-8")
    assert list(read_errors(tmp_path / "e.csv")["result"]) == ["=1+1"]


def test_cells_of_a_terminals_table_are_one_line_each():
    assert aligned([["a\nb", "1"], ["c", "22"]]) == [r"a\nb   1", "c     22"]


def test_errors_that_cannot_be_read_are_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"errors\.csv: cannot be read .* run lmk3d evaluate again"):
        read_errors(tmp_path / "errors.csv")


def test_files_that_cannot_be_written_are_input_errors(tmp_path):
    nowhere = tmp_path / "nowhere"
    with pytest.raises(InputError, match=r"points\.csv: cannot be written"):
        write_points_table([], nowhere / "points.csv")
    with pytest.raises(InputError, match=r"s\.csv: cannot be written"):
        write_summary(a_summary(), nowhere / "s.csv", nowhere / "s.json")
    with pytest.raises(InputError, match=r"errors\.csv: cannot be written"):
        write_errors({}, nowhere / "errors.csv")
