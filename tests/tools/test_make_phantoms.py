"""Phantoms as a data set: what is written checks clean, and seeds never stand in two sections."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from lmk3d.io import check_dataset, read_dataset, read_image, read_points
from lmk3d.synthetic import VERTEBRAE, VIEWS, cta_phantom, film_phantom, varied_phantom

TOOL = Path(__file__).parents[2] / "tools" / "make_phantoms.py"


def test_a_data_set_of_phantoms_checks_clean_and_holds_the_exact_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [str(TOOL), str(tmp_path), "--heart", "1", "1", "--aorta", "1", "1", "--spacing", "6", "9"]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(TOOL), run_name="__main__")
    result = check_dataset(tmp_path / "dataset.json")
    assert result.problems == []
    cases = read_dataset(tmp_path / "dataset.json")
    assert [case.name for case in cases.cases("training")] == ["heart_00000", "aorta_00001"]
    assert [case.name for case in cases.cases("validation")] == ["heart_00002", "aorta_00003"]
    points = read_points(tmp_path / "heart_00000.mrk.json")
    truth = cta_phantom(0, region="heart", spacing_mm=6.0).landmarks
    np.testing.assert_allclose(points.ordered(truth.names).points_mm, truth.points_mm, atol=1e-6)


def test_varied_phantoms_go_with_the_others_each_view_as_often_as_the_table_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = runpy.run_path(str(TOOL))
    views = [view for view, _ in tool["dealt"](80)]
    assert {view: views.count(view) for view in VIEWS} == {view: often for view, (often, _) in tool["VIEWS"].items()}
    arguments = ["--heart", "1", "0", "--aorta", "0", "0", "--spacing", "9", "9", "--varied", "2", "1", "--seed", "7"]
    coarse = {view: (often, 9.0) for view, (often, _) in tool["VIEWS"].items()}
    monkeypatch.setitem(tool["dealt"].__globals__, "VIEWS", coarse)
    monkeypatch.setattr(sys, "argv", [str(TOOL), str(tmp_path), *arguments])
    tool["main"]()
    cases = read_dataset(tmp_path / "dataset.json")
    assert [case.name for case in cases.cases("training")] == ["heart_00007", "chest_00008", "unenhanced_00009"]
    assert [case.name for case in cases.cases("validation")] == ["body_00010"]
    truth = varied_phantom(8, view="chest", spacing_mm=9.0)
    np.testing.assert_array_equal(read_image(tmp_path / "chest_00008.nii.gz").data, truth.volume.data)
    assert not read_points(tmp_path / "unenhanced_00009.mrk.json").present.any()
    again = ["--heart", "0", "1", "--aorta", "0", "0", "--spacing", "9", "9", "--seed", "7", "--add"]
    monkeypatch.setattr(sys, "argv", [str(TOOL), str(tmp_path), *again])
    tool["main"]()  # what was training and is validation now is in one section only
    cases = read_dataset(tmp_path / "dataset.json")
    assert [case.name for case in cases.cases("training")] == ["chest_00008", "unenhanced_00009"]
    assert [case.name for case in cases.cases("validation")] == ["body_00010", "heart_00007"]


def test_films_of_one_kind_are_a_data_set_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(TOOL), str(tmp_path), "--film", "spine", "--count", "2", "1", "--side", "64"])
    runpy.run_path(str(TOOL), run_name="__main__")
    assert check_dataset(tmp_path / "dataset.json").problems == []
    dataset = read_dataset(tmp_path / "dataset.json")
    assert [case.name for case in dataset.cases("training")] == ["spine_00000", "spine_00001"]
    assert len(dataset.pairs) == 34
    assert list(dataset.structures) == list(VERTEBRAE)
    assert sorted(name for members in dataset.structures.values() for name in members) == sorted(dataset.landmark_names)
    truth = film_phantom(2, kind="spine", side_px=64)
    np.testing.assert_array_equal(read_image(tmp_path / "spine_00002.nii.gz").data, truth.volume.data)
    points = read_points(tmp_path / "spine_00002.mrk.json").ordered(truth.landmarks.names)
    np.testing.assert_allclose(points.points_mm, truth.landmarks.points_mm, atol=1e-6)


def test_a_film_may_show_several_points_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [str(TOOL), str(tmp_path), "--film", "mediastinum", "--count", "3", "1", "--side", "64"]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(TOOL), run_name="__main__")
    dataset = read_dataset(tmp_path / "dataset.json")
    assert dataset.several == ("spinous_process",)
    counts = [len(read_points(case.points)["spinous_process"]) for case in dataset.cases("training")]
    assert max(counts) > 1
    assert check_dataset(tmp_path / "dataset.json").problems == []
