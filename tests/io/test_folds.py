from __future__ import annotations

import json

import pytest

from lmk3d.errors import InputError
from lmk3d.io import read_dataset, write_folds


@pytest.fixture
def source(tmp_path):
    """Eleven marked cases, one of them for validation, one without points, and a test case elsewhere."""
    marked = [{"image": f"images/{number:02}.mha", "points": f"points/{number:02}.csv"} for number in range(11)]
    content = {
        "landmarks": ["left", "right"],
        "pairs": [["left", "right"]],
        "training": [*marked[:10], {"image": "images/bare.mha"}],
        "validation": marked[10:],
        "test": [{"image": "../t.mha", "points": "t.csv", "second_points": "u.csv"}],
    }
    path = tmp_path / "data" / "set.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_every_marked_case_is_kept_once_and_trained_on_otherwise(source, tmp_path):
    paths = write_folds(source, tmp_path / "new" / "folds", 4)
    assert [path.name for path in paths] == ["fold1.json", "fold2.json", "fold3.json", "fold4.json"]
    kept = []
    for path in paths:
        fold = read_dataset(path)
        held, trained = ({case.name for case in fold.cases(section)} for section in ("validation", "training"))
        assert not held & trained
        assert len(held | trained) == 12
        assert "bare" in trained
        kept += sorted(held)
    assert sorted(kept) == [f"{number:02}" for number in range(11)]


def test_paths_lead_to_the_same_files_and_the_rest_stays(source, tmp_path):
    first = read_dataset(write_folds(source, tmp_path / "folds", 2)[0])
    whole = read_dataset(source)
    assert (first.landmark_names, first.pairs, first.name) == (whole.landmark_names, whole.pairs, "set, fold 1 of 2")
    for case in first.cases("test"), whole.cases("test"):
        files = [path.resolve() for path in (case[0].image, case[0].points, case[0].second_points)]
        assert files == [tmp_path / "t.mha", source.parent / "t.csv", source.parent / "u.csv"]


def test_cases_whose_points_are_called_label_are_dealt_out_too(source, tmp_path):
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace('"points"', '"label"'), encoding="utf-8")
    first = read_dataset(write_folds(source, tmp_path / "folds", 2)[0])
    case = first.cases("validation")[0]
    assert case.points is not None
    assert case.points.resolve() == source.parent / "points" / "00.csv"


def test_paths_are_right_where_the_folder_is_a_link(source, tmp_path, make_link):
    (tmp_path / "deep" / "inside").mkdir(parents=True)
    make_link(tmp_path / "folds", tmp_path / "deep" / "inside")
    fold = read_dataset(write_folds(source, tmp_path / "folds", 2)[1])
    assert fold.cases("validation")[0].image.resolve() == source.parent / "images" / "01.mha"


def test_the_last_of_ten_keeps_what_training_would_keep_by_itself(source, tmp_path):
    content = json.loads(source.read_text(encoding="utf-8"))
    content["training"] += content.pop("validation")
    source.write_text(json.dumps(content), encoding="utf-8")
    last = read_dataset(write_folds(source, tmp_path / "folds", 10)[-1])
    alone = read_dataset(source).with_validation()
    assert [case.name for case in last.cases("validation")] == [case.name for case in alone.cases("validation")]


def test_images_of_one_patient_stay_together(source, tmp_path):
    content = json.loads(source.read_text(encoding="utf-8"))
    for number in (0, 4, 9):
        content["training"][number]["patient"] = "eve"
    source.write_text(json.dumps(content), encoding="utf-8")
    held = [{case.name for case in read_dataset(path).cases("validation")} for path in write_folds(source, tmp_path, 3)]
    assert held == [{"00", "04", "09", "03", "07"}, {"01", "05", "08"}, {"02", "06", "10"}]


def test_a_single_patient_cannot_be_split(source, tmp_path):
    content = json.loads(source.read_text(encoding="utf-8"))
    source.write_text(json.dumps(content | {"training": [], "test": content["training"]}), encoding="utf-8")
    with pytest.raises(InputError, match="1 patient with points, not enough for 2 folds; at least two are needed"):
        write_folds(source, tmp_path, 2)


@pytest.mark.parametrize("count", [-1, 1, 12])
def test_a_count_that_does_not_fit_is_refused(source, tmp_path, count):
    with pytest.raises(InputError, match=f"11 patients with points, not enough for {count} folds; choose from 2 to 11"):
        write_folds(source, tmp_path / "folds", count)
    assert not (tmp_path / "folds").exists()


def test_nothing_is_replaced_unasked(source, tmp_path):
    (tmp_path / "fold2.json").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"fold2\.json: exists already"):
        write_folds(source, tmp_path, 3)
    assert not (tmp_path / "fold1.json").exists()
    assert len(write_folds(source, tmp_path, 3, overwrite=True)) == 3


def test_a_folder_that_cannot_be_made_is_told(source, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="folds: cannot be made"):
        write_folds(source, tmp_path / "file" / "folds", 3)


def test_an_entry_that_stands_twice_is_never_trained_on_and_held_out_at_once(tmp_path):
    cases = [{"image": f"{name}.nii", "points": f"{name}.csv"} for name in "abcdab"]
    (tmp_path / "set.json").write_text(json.dumps({"landmarks": ["n"], "training": cases}), encoding="utf-8")
    for path in write_folds(tmp_path / "set.json", tmp_path / "folds", 3):
        fold = json.loads(path.read_text(encoding="utf-8"))
        training, validation = ({case["image"] for case in fold[section]} for section in ("training", "validation"))
        assert not training & validation
