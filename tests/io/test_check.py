from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from lmk3d.geometry import Grid, Volume
from lmk3d.io import check_dataset, few_cases, read_image, write_image, write_points
from lmk3d.landmarks import Assessment, Landmarks

NAMES = ("nose", "left ear", "right ear")
POINTS = np.array([[20.0, 30, 5], [22, 33, 8], [28, 38, 12]])


@pytest.fixture
def make(tmp_path):
    """Writes a data set of one training and one validation case; cases and files can then be spoilt."""
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = [18, 28, 2]  # far from the origin: a flip of x and y leads out of the image
    data = np.random.default_rng(0).integers(0, 99, (14, 13, 12)).astype(np.int16)
    cases = {}
    for name in ("a", "b"):
        write_image(Volume(data, Grid(data.shape, affine)), tmp_path / f"{name}.nii")
        write_points(Landmarks(NAMES, POINTS), tmp_path / f"{name}.csv")
        cases[name] = {"image": f"{name}.nii", "points": f"{name}.csv"}

    def check(**changes):
        content = {"landmarks": list(NAMES), "training": [cases["a"]], "validation": [cases["b"]]} | changes
        (tmp_path / "set.json").write_text(json.dumps(content), encoding="utf-8")
        return check_dataset(tmp_path / "set.json")

    return check


def test_all_slips_of_the_file_itself_are_found_beside_those_of_the_images(make, tmp_path):
    slips = [{"image": "a.nii", "spacing_mm": -1}, {"image": "a.nii", "pionts": "a.csv"}, {"image": "none.nii"}]
    result = make(pairs=[["left ear", "tail"]], one_sided="nose", descriptions="", test=slips)
    assert [problem.removeprefix(f"{tmp_path / 'set.json'}: ") for problem in result.problems] == [
        "key 'descriptions' is unknown; did you mean 'description'?",
        "pairs names 'tail', which is no landmark; use the names under landmarks",
        "one_sided must be a list of names; correct it",
        "test, case 1: spacing_mm is -1; write a number of mm above 0",
        "test, case 2: key 'pionts' is unknown; did you mean 'points'?",
        f"test, case none: {tmp_path / 'none.nii'}: no such file or folder; check the path",
    ]
    assert len(make(landmarks=[], pairs=[["left ear", "tail"]]).problems) == 1


def notes(result):
    """All but the one on the few cases that tests have."""
    return [note for note in result.notes if "fewer than ten" not in note]


def only(result):
    (problem,) = result.problems
    return problem


def test_predictions_that_were_not_trusted_are_noted_as_ground_truth(make, tmp_path):
    doubtful = Landmarks(NAMES, POINTS, assessment=Assessment((), ("", "far off", "")))
    write_points(doubtful, tmp_path / "a.csv")
    said = "a.csv does not trust 1 of its own points: is it a prediction that nobody has corrected?"
    assert [note for note in notes(make()) if said in note]


def test_few_training_cases_are_noted(make, tmp_path):
    (note,) = [note for note in make().notes if "fewer" in note]
    assert note == (
        "1 training case with points, fewer than ten: expect large errors on new patients, and figures that are "
        "chance; mark more"
    )
    assert few_cases(9).startswith("9 training cases with points, fewer than ten")
    assert few_cases(10) is None


def test_good_data_set_has_no_problems_and_a_fingerprint(make):
    result = make()
    assert result.problems == []
    assert result.fingerprint.cases == {"training": 1, "validation": 1}
    assert result.fingerprint.points == {"nose": 2, "left ear": 2, "right ear": 2}


def test_copies_of_an_image_are_noted(make, tmp_path):
    assert notes(make()) == [
        "validation, case b: the same image as training, case a; its error is not that of a new patient"
    ]
    for ending in ("nii", "csv"):
        shutil.copy(tmp_path / f"a.{ending}", tmp_path / f"d.{ending}")
    again = make(training=[{"image": f"{name}.nii", "points": f"{name}.csv"} for name in "ad"], validation=[])
    assert again.problems == []
    assert notes(again) == ["training, case d: the same image as training, case a; it counts twice"]


def test_points_that_two_images_share_are_a_slip(make):
    shared = [{"image": "a.nii", "points": "a.csv"}, {"image": "b.nii", "points": "a.csv"}]
    problem = only(make(training=shared[:1], validation=shared[1:]))
    assert problem.startswith("validation, case b: ")
    assert problem.endswith("a.csv holds the points of training, case a; give each case its own")


def test_patients_in_two_sections_are_noted(make, tmp_path):
    volume = read_image(tmp_path / "b.nii")
    for number, name in enumerate("bcd", 1):  # images that differ
        write_image(replace(volume, data=volume.data + np.int16(number)), tmp_path / f"{name}.nii")
        shutil.copy(tmp_path / "a.csv", tmp_path / f"{name}.csv")
    cases = {name: {"image": f"{name}.nii", "points": f"{name}.csv", "patient": "x"} for name in "abcd"}
    result = make(training=[cases["a"], cases["b"]], validation=[cases["c"]], test=[cases["d"] | {"patient": "y"}])
    assert result.problems == []
    assert notes(result) == [
        "validation, case c: patient x is in training, too; the error is not that of a new patient"
    ]


def test_points_in_the_wrong_frame_are_noted_where_they_lie_inside_all_the_same(make, tmp_path):
    grid = Grid.around([0.0, 0, 0], (40, 40, 40), 2.0)  # the middle at the origin: a turn leads to no point outside
    points = np.array([[0, 30.0, 5], [-20, 0, 0], [20, 0, 0]])
    for name, turn in ("right", [1, 1, 1]), ("wrong", [-1, -1, 1]):
        cases = []
        for number in range(5):
            data = np.random.default_rng(number).integers(0, 99, grid.shape).astype(np.int16)
            write_image(Volume(data, grid), tmp_path / f"{number}.nii")
            write_points(Landmarks(NAMES, points * turn), tmp_path / f"{name}{number}.csv")
            cases.append({"image": f"{number}.nii", "points": f"{name}{number}.csv"})
        result = make(training=cases, validation=[], pairs=[["left ear", "right ear"]])
        assert result.problems == []
        assert [note[:40] for note in notes(result)] == (
            [] if name == "right" else ["in 100% of all pairs the left point lies"]
        )


def test_points_that_are_not_where_other_cases_have_them_are_noted(make, tmp_path):
    generator, cases = np.random.default_rng(0), []
    for number in range(6):
        grid = Grid.around([0.0, 0, 0], (40, 40, 40), 2.0)
        data = generator.integers(0, 99, grid.shape).astype(np.int16)
        write_image(Volume(data, grid), tmp_path / f"{number}.nii")
        points = np.array([[0, 30.0, 5], [-20, 0, 0], [20, 0, 0], [0, -30, 10], [5, 5, -30]])
        points = points[[0, 2, 1, 3, 4]] if number == 4 else points
        write_points(
            Landmarks((*NAMES, "nape", "chin"), points + generator.normal(size=(5, 3))), tmp_path / f"{number}.csv"
        )
        cases.append({"image": f"{number}.nii", "points": f"{number}.csv"})
    result = make(
        landmarks=[*NAMES, "nape", "chin"], training=cases[:4], validation=[], test=cases[4:], pairs=[NAMES[1:]]
    )
    assert result.problems == []
    assert notes(result) == ["test, case 4: left ear and right ear look exchanged"]


def test_all_problems_are_found_at_once(make, tmp_path):
    (tmp_path / "a.csv").write_text("name,x,y,z\nnose,1,two,3\n", encoding="utf-8")
    (tmp_path / "b.nii").unlink()
    result = make(test=[{"image": "c.nii"}], landmarks=[*NAMES, "tail"])
    assert [problem.partition(":")[0] for problem in result.problems] == [
        "training, case a",
        "validation, case b",
        "test, case c",
        "training has no point of nose, left ear, right ear, tail; mark them or take them out of landmarks",
    ]
    assert result.fingerprint.cases == {"training": 1}


def test_file_that_is_no_data_set_is_one_problem(tmp_path):
    result = check_dataset(tmp_path / "nowhere.json")
    assert "no such file" in only(result)
    assert result.fingerprint.images == []


def test_missing_and_damaged_images_are_named(make, tmp_path):
    (tmp_path / "b.nii").write_bytes((tmp_path / "b.nii").read_bytes()[:-5])
    assert "validation, case b: " in only(make())
    assert "b.nii: holds less than" in only(make())
    (tmp_path / "b.nii").unlink()
    assert "b.nii: no such file or folder" in only(make())


def test_missing_points_file_is_named(make, tmp_path):
    (tmp_path / "b.csv").unlink()
    assert "b.csv: no such file" in only(make())


def test_unknown_and_doubled_names_are_named(make, tmp_path):
    names = ("nose", "left eer", "left eer", "tail")
    write_points(Landmarks(names, POINTS[[0, 1, 1, 2]]), tmp_path / "b.csv")
    problems = make().problems
    assert len(problems) == 2
    assert "has left eer more than once" in problems[0]
    assert problems[1].endswith(
        "b.csv names 'left eer' (did you mean 'left ear'?), 'tail', which are none of the data set's landmarks; "
        "rename them, or add them to landmarks"
    )
    write_points(Landmarks(("nose", "left eer"), POINTS[:2]), tmp_path / "b.csv")
    assert only(make()).endswith(
        "names 'left eer', which is none of the data set's landmarks; did you mean 'left ear'?"
    )


def test_points_outside_the_image_are_named(make, tmp_path):
    write_points(Landmarks(NAMES, POINTS + np.diag([0, 90, 0])[:, [0, 2, 1]]), tmp_path / "b.csv")
    assert "b.csv: 1 of 3 points lie outside the image; left ear" in only(make())


def test_points_in_the_other_frame_are_recognised(make, tmp_path):
    write_points(Landmarks(NAMES, POINTS * [-1, -1, 1]), tmp_path / "b.csv")
    assert "3 of 3 points lie outside the image; inside with x and y turned round: the frame is wrong" in only(make())


def test_points_of_another_image_are_doubted(make, tmp_path):
    write_points(Landmarks(NAMES, POINTS + 500), tmp_path / "b.csv")
    assert "3 of 3 points lie outside the image; do they belong to this image?" in only(make())


def test_point_on_the_outermost_voxels_face_is_inside(make, tmp_path):
    # The first voxel's centre lies at x = 18.
    write_points(Landmarks(NAMES, POINTS - [[2.9, 0, 0], [0, 0, 0], [0, 0, 0]]), tmp_path / "b.csv")
    assert make().problems == []


def test_case_without_points_is_a_problem_except_in_the_test_section(make):
    bare = [{"image": "b.nii"}]
    assert "validation, case b: has no points" in only(make(validation=bare))
    assert make(validation=[], test=bare).problems == []


def test_file_of_missing_points_only_is_a_problem(make, tmp_path):
    write_points(Landmarks(NAMES, np.full((3, 3), np.nan)), tmp_path / "b.csv")
    assert "has no points, only missing ones" in only(make())


def test_second_points_are_looked_at_too(make, tmp_path):
    write_points(Landmarks(NAMES, POINTS + 500), tmp_path / "c.csv")
    case = {"image": "b.nii", "points": "b.csv", "second_points": "c.csv"}
    assert "c.csv: 3 of 3 points lie outside" in only(make(validation=[case]))


def test_image_in_two_sections_is_a_problem_even_under_another_path(make):
    problem = only(make(test=[{"image": "x/../a.nii", "points": "a.csv", "name": "again"}]))
    assert "test, case again: " in problem
    assert "is already the image of training, case a" in problem


def test_cases_that_share_a_name_are_a_problem(make, tmp_path):
    assert "cases share the names a" in only(make(validation=[{"image": "b.nii", "points": "b.csv", "name": "a"}]))


def test_constant_and_nan_images_are_problems(make, tmp_path):
    grid = Grid((14, 13, 12), np.array([[1.0, 0, 0, 18], [0, 1, 0, 28], [0, 0, 1, 2], [0, 0, 0, 1]]))
    write_image(Volume(np.full(grid.shape, 3, np.uint8), grid), tmp_path / "b.nii")
    assert "b.nii is constant (3)" in only(make())
    data = np.zeros(grid.shape, np.float32)
    data[0, 0, :2] = np.nan
    data[1] = 1
    write_image(Volume(data, grid), tmp_path / "b.nii")
    assert "b.nii has 2 voxels that are NaN or infinite" in only(make())
    write_image(Volume(data * np.nan, grid), tmp_path / "b.nii")
    assert "has 2184 voxels that are NaN" in only(make())


def test_units_that_do_not_fit_are_problems(make, tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(tmp_path / "f.png")
    write_points(Landmarks(NAMES, [[-3, -4, 0]] * 3), tmp_path / "f.csv")
    case = {"image": "f.png", "points": "f.csv"}
    problems = make(validation=[case]).problems
    assert "f.csv is in mm, its image in px; give spacing_mm" in problems[0]
    assert problems[1] == "some images are in mm and some in px; give spacing_mm for those without a spacing"
    assert make(validation=[case | {"spacing_mm": 1}]).problems == []


def test_each_image_is_read_once(make, monkeypatch):
    import lmk3d.io.check as check

    read, seen = check.read_image, []
    monkeypatch.setattr(check, "read_image", lambda path, **options: seen.append(path.name) or read(path, **options))
    make(test=[{"image": "a.nii", "name": "c"}])
    assert seen == ["a.nii", "b.nii"]


@pytest.fixture
def many(tmp_path):
    """Writes twelve cases that differ a little; ``spoil`` gets each image, its points and its number first."""

    def check(spoil=lambda volume, points, number: (volume, points), ending="csv", **changes):
        generator, cases = np.random.default_rng(0), []
        for number in range(12):
            grid = Grid.around([50.0, 60, 70], (40 + number % 3, 40, 30), 2.0)
            volume = Volume(generator.integers(0, 255, grid.shape).astype(np.int16), grid)
            points = Landmarks(NAMES, generator.normal([[50, 60, 70], [40, 60, 70], [60, 60, 70]]))
            volume, points = spoil(volume, points, number)
            write_image(volume, tmp_path / f"{number}.nii")
            if isinstance(points, str):
                (tmp_path / f"{number}.{ending}").write_text(points, encoding="utf-8")
            else:
                write_points(points, tmp_path / f"{number}.{ending}")
            cases.append({"image": f"{number}.nii", "points": f"{number}.{ending}"})
        content = {"landmarks": list(NAMES), "training": cases} | changes
        (tmp_path / "set.json").write_text(json.dumps(content), encoding="utf-8")
        return check_dataset(tmp_path / "set.json")

    return check


def test_cases_that_differ_as_cases_do_give_no_note(many):
    result = many()
    assert (result.problems, result.notes) == ([], [])


def test_one_mistake_made_in_every_case_is_one_line(many, tmp_path):
    problem = many(lambda volume, points, _: (volume, replace(points, names=("a", "b", "c")))).problems[0]
    assert problem == (
        f"in all 12 cases (0, 1, 2, 3, 4 and 7 more): for example {tmp_path / '0.csv'} names 'a', 'b', 'c', which are "
        "none of the data set's landmarks; rename them, or add them to landmarks"
    )
    assert len(many(lambda volume, points, _: (volume, replace(points, names=("a", "b", "c")))).problems) == 2
    broken = many(lambda volume, points, number: (volume, "name,x,y,z\n" + number * "nose,1,2,3\n" + "nose,1,b,3\n"))
    assert len(broken.problems) == 2  # the other: no landmark has a point
    assert broken.problems[0].startswith("in all 12 cases (0, 1, 2, 3, 4 and 7 more): for example ")
    assert broken.problems[0].endswith("0.csv, line 2: y of 'nose' is 'b'; write a finite number")


def test_a_mistake_of_some_cases_names_them_and_of_two_stays_apart(many):
    def spoil(volume, points, number):
        names = ("nos", *NAMES[1:]) if number < 3 else ("nose", "lefd ear", "right ear") if number < 5 else NAMES
        return volume, replace(points, names=names)

    problems = many(spoil).problems
    assert len(problems) == 3
    assert "training, case 3: " in problems[0]
    assert "training, case 4: " in problems[1]
    assert problems[2].startswith("in 3 of 12 cases (0, 1, 2): for example ")


def test_one_mistake_in_every_case_of_the_file_itself_is_one_line(make):
    slips = [{"image": f"{name}.nii", "pionts": f"{name}.csv"} for name in "abc"]
    problems = make(training=slips, validation=[]).problems
    assert problems[0].startswith(
        "in all 3 cases (1, 2, 3): for example key 'pionts' is unknown; did you mean 'points'?"
    )


@pytest.mark.parametrize(
    "names", [("F-1", "F-2", "F-3"), ("F_1-1", "F_1-2", "F_1-3"), ("MarkupsFiducial_2-1", "F-1", "3")]
)
def test_names_that_slicer_gives_are_explained_once(many, names):
    problems = many(lambda volume, points, _: (volume, replace(points, names=names)), ending="mrk.json").problems
    assert len(problems) == 2
    assert "in all 12 cases" in problems[0]
    assert f"has names as 3D Slicer gives them ({', '.join(names)}), none of the data set's landmarks" in problems[0]
    assert "in Slicer, name each point as in landmarks (nose, left ear, right ear)" in problems[0]


def test_empty_lists_and_other_markups_are_called_what_they_are(many):
    def spoil(kind, points):
        return json.dumps({"markups": [{"type": kind, "controlPoints": points}]})

    point = [{"label": name, "position": [-50, -60, 70]} for name in NAMES]
    texts = {0: spoil("Fiducial", []), 1: spoil("Curve", point), 2: spoil("ROI", point)}
    result = many(lambda volume, points, number: (volume, texts.get(number, points)), ending="mrk.json")
    assert "0.mrk.json is an empty list of points; place them, or leave points out" in result.problems[0]
    assert "2.mrk.json: holds a ROI, no list of points" in result.problems[1]
    assert "1.mrk.json: holds a Curve, whose control points are read as points" in result.notes[0]


def test_tables_that_do_not_say_their_frame_are_noted_once(many):
    def spoil(volume, points, _):
        return volume, "name,x,y,z\n" + "".join(f"{name},50,60,70\n" for name in NAMES)

    result = many(spoil)
    assert result.problems == []
    assert len(result.notes) == 1
    assert "0.csv: the table does not say its frame, RAS is assumed" in result.notes[0]


def test_pixels_of_films_are_read_with_their_image(make, tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(tmp_path / "f.png")
    case = {"image": "f.png", "points": "f.csv"}
    (tmp_path / "f.csv").write_text("name,column,row\nnose,19,9\nleft ear,3,4\nright ear,3,5\n", encoding="utf-8")
    assert make(training=[case], validation=[]).problems == []
    (tmp_path / "f.csv").write_text("name,column,row\nnose,9,19\nleft ear,3,4\nright ear,3,5\n", encoding="utf-8")
    assert "1 of 3 points lie outside the image; nose" in only(make(training=[case], validation=[]))
    text = "name,x,y,z,unit\nnose,19,9,0,px\nleft ear,3,4,0,px\nright ear,3,5,0,px\n"
    (tmp_path / "f.csv").write_text(text, encoding="utf-8")
    problem = only(make(training=[case], validation=[]))
    # Read as they stand they lie where x and y turned round would bring them inside.
    assert "3 of 3 points lie outside the image; inside with x and y turned round" in problem


def test_voxel_indices_are_recognised(many):
    result = many(lambda volume, points, _: (volume, replace(points, points_mm=volume.grid.to_vox(points.points_mm))))
    assert len(result.problems) == 1
    assert "in all 12 cases" in result.problems[0]
    assert result.problems[0].endswith("lie outside the image; inside as voxel indices: write world mm")


def test_an_image_of_another_scale_or_size_is_noted(many):
    def spoil(volume, points, number):
        if number == 3:
            return Volume((volume.data.astype(np.float32) * 20 - 1000).astype(np.int16), volume.grid), points
        if number == 5:
            return Volume(volume.data, volume.grid.scaled(10)), replace(points, points_mm=points.points_mm * 10)
        return volume, points

    notes = many(spoil).notes
    assert len(notes) == 2
    assert notes[0].startswith(
        "training, case 3: its values, -1000 to 4080, are far from the others' (0 to 254, medians)"
    )
    assert notes[1] == (
        "training, case 5: measures 840 mm along its longest side, the others 82 and has a spacing of 20 x 20 x 20 mm, "
        "the others about 2; is its spacing right?"
    )


def test_paths_that_no_system_has_are_problems(make):
    problems = make(test=[{"image": "a\0.nii"}, {"image": "a" * 5000}]).problems
    assert "test, case 1: image has a NUL character; remove it" in problems[0]
    assert len(problems) == 2
