from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from lmk3d.errors import InputError
from lmk3d.io import Case, check_dataset, read_dataset
from lmk3d.io.datasets import bare_name

CONTENT = {
    "name": "skulls",
    "description": "four of them",
    "landmarks": ["nose", "left ear", "right ear", "scar"],
    "pairs": [["left ear", "right ear"]],
    "one_sided": ["scar"],
    "training": [{"image": "images/a.nii.gz", "points": "points/a.csv"}],
    "validation": [{"image": "../b.mha", "points": "b.mrk.json", "second_points": "c.fcsv", "name": "bee"}],
}


def save(tmp_path, **changes):
    content = {name: value for name, value in (CONTENT | changes).items() if value is not None}
    (tmp_path / "set.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "set.json"


def test_paths_are_relative_to_the_file(tmp_path):
    dataset = read_dataset(str(save(tmp_path)))
    assert dataset.name == "skulls"
    assert dataset.landmark_names == ("nose", "left ear", "right ear", "scar")
    assert dataset.pairs == (("left ear", "right ear"),)
    assert dataset.one_sided == ("scar",)
    assert dataset.cases("training") == [Case("a", tmp_path / "images" / "a.nii.gz", tmp_path / "points" / "a.csv")]
    (case,) = dataset.cases("validation")
    assert (case.name, case.image, case.second_points) == ("bee", tmp_path / ".." / "b.mha", tmp_path / "c.fcsv")


def test_label_of_a_monai_data_list_is_another_word_for_points(tmp_path):
    cases = [{"image": "a.nii", "label": "a.csv"}, {"image": "b.nii", "points": "b.csv", "label": "b.csv"}]
    dataset = read_dataset(save(tmp_path, training=cases))
    assert [case.points for case in dataset.cases("training")] == [tmp_path / "a.csv", tmp_path / "b.csv"]


def test_points_and_label_that_differ_are_refused(tmp_path):
    path = save(tmp_path, training=[{"image": "a.nii", "points": "a.csv", "label": "b.csv"}])
    with pytest.raises(InputError, match=r"training, case 1: points is 'a\.csv', but label 'b\.csv'; give one, they"):
        read_dataset(path)
    with pytest.raises(InputError, match="label is 3; write a text"):
        read_dataset(save(tmp_path, training=[{"image": "a.nii", "label": 3}]))


def test_absolute_paths_stay(tmp_path):
    image = str(tmp_path.resolve() / "a.nii")
    dataset = read_dataset(save(tmp_path, training=[{"image": image}]))
    assert dataset.cases("training")[0].image == Path(image)
    assert dataset.cases("training")[0].points is None


def test_spacing_of_the_set_holds_for_cases_without_their_own(tmp_path):
    cases = [{"image": "a.png"}, {"image": "b.png", "spacing_mm": 0.1, "series": "7"}]
    dataset = read_dataset(save(tmp_path, spacing_mm=0.2, training=cases, validation=None))
    assert [case.spacing_mm for case in dataset.cases("training")] == [0.2, 0.1]
    assert [case.series for case in dataset.cases("training")] == [None, "7"]


def test_name_is_that_of_the_file_where_none_is_given(tmp_path):
    assert read_dataset(save(tmp_path, name=None, description=None)).name == "set"


def test_section_without_cases_is_refused_when_asked_for(tmp_path):
    with pytest.raises(InputError, match=r"data set 'skulls' has no cases in section 'test'; .*: training, validation"):
        read_dataset(save(tmp_path)).cases("test")


def test_every_tenth_marked_case_validates_where_no_case_is_named_for_it(tmp_path):
    cases = [{"image": f"{number}.nii", **({"points": "p.csv"} if number else {})} for number in range(22)]
    parted = read_dataset(save(tmp_path, training=cases, validation=None)).with_validation()
    assert [case.name for case in parted.cases("validation")] == ["10", "20"]
    assert len(parted.cases("training")) == 20
    assert parted.with_validation() is parted
    few = read_dataset(save(tmp_path, training=cases[:4], validation=[])).with_validation()
    assert [case.name for case in few.cases("validation")] == ["3"]
    assert [case.name for case in few.cases("training")] == ["0", "1", "2"]
    one = read_dataset(save(tmp_path, training=cases[:2], validation=None))
    assert one.with_validation() is one
    twins = [case | {"patient": "x"} for case in cases[1:4]]
    both = read_dataset(save(tmp_path, training=[*twins, cases[6]], validation=None)).with_validation()
    assert [case.name for case in both.cases("training")] == ["1", "2", "3"]
    alike = read_dataset(save(tmp_path, training=twins, validation=None))
    assert alike.with_validation() is alike


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"trainning": []}, "key 'trainning' is unknown; did you mean 'training'"),
        ({"landmarks": None}, "landmarks is missing or empty"),
        ({"landmarks": []}, "landmarks is missing or empty"),
        ({"landmarks": "nose"}, "landmarks must be a list of names"),
        ({"landmarks": ["nose", 3]}, "landmarks must be a list of names"),
        ({"landmarks": ["nose", "ear", "nose"]}, "landmarks names nose more than once"),
        ({"pairs": "no"}, "pairs must be a list"),
        ({"pairs": ["no"]}, "each of pairs must be a list of names"),
        ({"pairs": [["nose", "nose"]]}, "must be two different names"),
        ({"pairs": [["nose", "tail"]]}, "pairs names 'tail', which is no landmark"),
        ({"pairs": [["nose", "left ear"], ["right ear", "nose"]]}, "'nose' is in two pairs"),
        ({"one_sided": ["left ear"]}, "one_sided names 'left ear'"),
        ({"one_sided": ["tail"]}, "one_sided names 'tail'"),
        ({"training": None, "validation": []}, "has no cases"),
        ({"training": {}}, "training must be a list of cases"),
        ({"training": [3]}, "training, case 1: is 3"),
        (
            {"training": [{"image": "a", "pionts": "b"}]},
            "training, case 1: key 'pionts' is unknown; did you mean 'points'",
        ),
        ({"training": [{"image": "a"}, {"points": "b"}]}, "training, case 2: has no image"),
        ({"training": [{"image": 3}]}, "training, case 1: image is 3; write a text"),
        ({"training": [{"image": "a", "name": ""}]}, "training, case 1: name is ''"),
        ({"spacing_mm": 0}, "spacing_mm is 0"),
        ({"spacing_mm": True}, "spacing_mm is True"),
        ({"spacing_mm": "0.1"}, "spacing_mm is '0.1'"),
    ],
)
def test_what_makes_no_data_set_is_named(tmp_path, changes, match):
    with pytest.raises(InputError, match=rf"set\.json: .*{match}"):
        read_dataset(save(tmp_path, **changes))


def test_other_json_is_no_data_set(tmp_path):
    (tmp_path / "set.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(InputError, match="is no data set"):
        read_dataset(tmp_path / "set.json")


@pytest.mark.parametrize(
    ("name", "bare"),
    [("a.nii.gz", "a"), ("a.b.NII.GZ", "a.b"), ("a.mha", "a"), ("dicom", "dicom"), ("1.2.840.dcm", "1.2.840")],
)
def test_bare_name_drops_the_whole_ending(name, bare):
    assert bare_name(Path("folder") / name) == bare


@pytest.mark.parametrize(
    ("structures", "text"),
    [
        ([], "structures must be an object"),
        ({"one": ["a", "b"]}, "structure 'one' has 2 landmarks; a contour needs three or more"),
        ({"one": ["a", "b", "x"]}, "structures names 'x', which is no landmark"),
        ({"one": ["a", "b", "c"], "two": ["a", "b", "c"]}, "structures names 'a', which is in two structures"),
    ],
)
def test_structures_that_are_no_contours_are_refused(tmp_path, structures, text):
    content = {"landmarks": ["a", "b", "c"], "structures": structures, "training": [{"image": "one.nii"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=text):
        read_dataset(tmp_path / "dataset.json")


def test_names_with_several_points_are_landmarks(tmp_path):
    content = {"landmarks": ["a", "b"], "several": ["a"], "training": [{"image": "one.nii"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_dataset(tmp_path / "dataset.json").several == ("a",)
    (tmp_path / "dataset.json").write_text(json.dumps({**content, "several": ["x"]}), encoding="utf-8")
    with pytest.raises(InputError, match="several names 'x', which is no landmark"):
        read_dataset(tmp_path / "dataset.json")


ODD = [
    None,
    True,
    -1,
    10**400,
    1e308,
    float("nan"),
    "",
    "a",
    "\ud800",
    "\0",
    "x" * 5000,
    [],
    {},
    [["a"]],
    ["a", "a"],
    {"a": 1},
]


def test_whatever_stands_in_a_data_sets_file_is_a_fault_and_no_other_error(tmp_path):
    whole = {
        "name": "n", "landmarks": ["a", "b", "c"], "pairs": [["a", "b"]], "one_sided": ["c"], "several": ["c"],
        "structures": {"s": ["a", "b", "c"]}, "spacing_mm": 1.0, "description": "d",
        "training": [{"image": "v.nii", "points": "p.csv", "second_points": "q.csv", "name": "one", "series": "1",
                      "patient": "x", "spacing_mm": 0.5}],
    }  # fmt: skip
    path, refused = tmp_path / "set.json", 0
    for key, odd in product(whole, ODD):
        path.write_text(json.dumps(whole | {key: odd}), encoding="utf-8")
        refused += bool(check_dataset(path).problems)
    for key, odd in product(whole["training"][0], ODD):
        path.write_text(json.dumps(whole | {"training": [whole["training"][0] | {key: odd}]}), encoding="utf-8")
        refused += bool(check_dataset(path).problems)
    assert refused == 16 * len(ODD)  # no such image at the least
