"""Evaluation from data sets to files, with detectors whose errors are known."""

import csv
import json
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from lmk3d.calibration import Calibration
from lmk3d.conformal import Radii, image_key
from lmk3d.errors import InputError
from lmk3d.evaluation import evaluate, evaluate_detector, evaluate_points
from lmk3d.geometry import Grid, Volume
from lmk3d.io import read_image, write_image, write_points
from lmk3d.landmarks import Assessment, Landmarks

NAMES = ("a", "b", "c", "d")
GONE = np.full(3, np.nan)
SHAPE = np.array([[2.0, 2, 2], [8, 2, 2], [2, 9, 2], [2, 2, 7]])


class Known:
    """Reads the points off the image, where they are voxels of value 1, 2, ..., and errs as told."""

    names = NAMES
    version = "7"

    def __init__(self, shift_mm=(0.0, 0.0, 0.0), missing=()):
        self.shift_mm, self.missing = np.array(shift_mm), missing

    @classmethod
    def from_bundle(cls, folder, *, device="cpu"):
        return cls((0, 0.3, 0.4))

    def detect(self, volume):
        if not volume.data.any():
            raise InputError("the image is constant (0 everywhere); is it the right file?")
        points = np.full((len(self.names), 3), np.nan)
        for row in range(len(self.names)):
            where = np.argwhere(volume.data == row + 1)
            if len(where) and self.names[row] not in self.missing:
                points[row] = volume.grid.to_mm(where[0]) + self.shift_mm
        return Landmarks(self.names, points, np.linspace(0.9, 0.6, len(points)))


class Staged(Known):
    """First three times as far off, then as told."""

    def detect_stages(self, volume):
        return {"coarse": Known(3 * self.shift_mm).detect(volume), "refined": Known(self.shift_mm).detect(volume)}

    def detect(self, volume):
        raise AssertionError("the stages hold the result already")


def scan(shift, names=NAMES):
    data = np.zeros((16, 16, 12), np.uint8)
    grid = Grid(data.shape, np.diag([0.5, 0.5, 0.5, 1.0]) + np.array([[0, 0, 0, s] for s in (*shift, 0)]))
    points = np.array(
        [(SHAPE[row] * 0.5 + np.array(shift)) if name in names else GONE for row, name in enumerate(NAMES)]
    )
    for row in range(len(NAMES)):
        if NAMES[row] in names:
            data[tuple(SHAPE[row].astype(int))] = row + 1
    return Volume(data, grid), Landmarks(NAMES, points)


@pytest.fixture
def dataset(tmp_path):
    """Two training and two validation cases; d is absent in case v2, v1 has a second rater 0.2 mm off for a."""
    cases = {"t1": (0, 0, 0), "t2": (2, 0, 0), "v1": (1, 0, 0), "v2": (1, 3, 4)}
    content = {"name": "boxes", "landmarks": list(NAMES), "training": [], "validation": []}
    for name, shift in cases.items():
        volume, points = scan(shift, "abc" if name == "v2" else NAMES)
        write_image(volume, tmp_path / f"{name}.nrrd")
        write_points(points, tmp_path / f"{name}.csv")
        case = {"image": f"{name}.nrrd", "points": f"{name}.csv"}
        if name == "v1":
            second = points.rows([0, 1])
            write_points(
                Landmarks(second.names, second.points_mm + np.array([[0.2, 0, 0], GONE])), tmp_path / "second.csv"
            )
            case["second_points"] = "second.csv"
        content["training" if name[0] == "t" else "validation"].append(case)
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "dataset.json"


def edit(dataset, change):
    content = json.loads(dataset.read_text(encoding="utf-8"))
    change(content)
    dataset.write_text(json.dumps(content), encoding="utf-8")


def test_figures_by_hand(dataset, capsys):
    found = evaluate_detector(Staged((0, 0.3, 0.4)), dataset, sdr_mm=(0.5, 1))
    assert found.unit == "mm"
    assert found.cases == 2
    assert found.result.overall.n == 7
    assert found.result.overall.mean == pytest.approx(0.5)
    assert (found.missing.both, found.missing.reported, found.missing.absent) == (1, 1, 1)
    assert list(found.beside) == ["stage coarse", "mean shape", "mean shape, aligned", "second rater"]
    assert found.beside["stage coarse"].overall.mean == pytest.approx(1.5)
    # The mean of the training boxes lies at shift (1, 0, 0): right on v1, 5 mm from v2, which has three points.
    assert found.beside["mean shape"].overall.mean == pytest.approx(15 / 7)
    assert found.beside["mean shape, aligned"].overall.max < 1e-9
    assert found.beside["second rater"].overall.n == 1
    assert found.beside["second rater"].landmarks["a"].mean == pytest.approx(0.2)
    said = capsys.readouterr().out
    assert "1 of 2: v1: mean error 0.50 mm, " in said
    assert "version 7" not in said
    assert "7, boxes, validation, 2 cases; errors in mm" in said
    assert "Mean shape: of 2 training cases" in said


class Assessed(Known):
    """Does not trust its last landmark; its radii are 0.6 mm."""

    calibration, coverage = Calibration({}, None, Radii(np.ones((3, 4)), tuple("abc"))), 0.7

    def detect(self, volume):
        found = super().detect(volume)
        assessment = Assessment((), ("", "", "", "far off"))
        error_mm = np.where(found.present, [0.6, 0.6, 0.4, np.nan], np.nan)
        return replace(found, assessment=assessment, error_mm=error_mm, coverage=0.7)


def test_radii_and_trust_are_measured(dataset, tmp_path, capsys):
    found = evaluate_detector(Assessed((0, 0.3, 0.4)), dataset, tmp_path / "out", sdr_mm=(0.2, 0.4))
    assert (found.radii.coverage, found.radii.overall.n) == (0.7, 6)
    assert found.radii.overall.within == pytest.approx(4 / 6)
    assert found.radii.landmarks["c"].within == 0
    assert found.beside["trusted points"].overall.n == 6
    assert found.result.overall.n == 7
    said = " ".join(capsys.readouterr().out.split())
    assert "Radii: 66.7% of 6 found points with a radius lie within it, fewer than the 70% promised." in said
    assert "Trust: 1 of 7 found points are not trusted; of the 6 trusted ones 6 lie more than 0.4 mm off." in said
    assert "each radius holds the ground truth in 70 % of new patients (from 3 validation patients)." in said
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "within the 70 % radius" in page
    assert "radius mm" in page
    assert "<span>points trusted</span>" in page
    assert page.count("<td>no</td>") == 1


def test_cases_that_the_radii_were_learnt_from_are_no_test_of_them(dataset, tmp_path, capsys):
    detector = Assessed()
    key = image_key(read_image(tmp_path / "v1.nrrd"))
    detector.calibration = Calibration({}, None, Radii(np.ones((3, 4)), ("a", "b", key)))
    evaluate_detector(detector, dataset)
    assert "1 of these 2 cases are among those: their coverage is no test of the radii" in capsys.readouterr().out


def test_a_detector_without_stages_is_asked_once(dataset):
    found = evaluate_detector(Known(missing=("b",)), dataset, section="training")
    assert found.result.overall.missed == 2
    assert found.result.landmarks["b"].n == 0
    assert found.missing.precision == 0.0
    assert not [name for name in found.beside if name.startswith("stage")]


def test_all_files_are_written(dataset, tmp_path):
    output = tmp_path / "deep" / "out"
    output.mkdir(parents=True)
    (output / "worst-5.png").write_bytes(b"of an earlier run")
    evaluate_detector(Staged((0, 0.3, 0.4)), dataset, output)
    assert sorted(path.name for path in output.iterdir()) == [
        "boxes.png", "cumulative.png", "errors.csv", "index.html", "points.csv", "summary.csv", "summary.json",
        "worst-1.png", "worst-2.png",
    ]  # fmt: skip
    with (output / "points.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 8
    assert [line["status"] for line in lines] == ["found"] * 7 + ["absent"]
    assert float(lines[3]["error_mm"]) == pytest.approx(0.5)
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert summary["result"]["overall"]["sdr"]["1"] == 1.0
    page = (output / "index.html").read_text(encoding="utf-8")
    assert page.count("<img") == 2
    assert page.count("<svg") == 4  # both charts, for a wide and a narrow screen
    assert "7 on boxes" in page


def test_evaluate_loads_the_bundle(dataset, tmp_path, monkeypatch, capsys):
    room = ModuleType("lmk3d.inference")
    room.LandmarkDetector = Known
    monkeypatch.setitem(sys.modules, "lmk3d.inference", room)
    (tmp_path / "my_bundle").mkdir()
    (tmp_path / "my_bundle" / "inference.json").write_text('{"report": {"sdr_mm": [0.25, 8]}}', encoding="utf-8")
    found = evaluate(tmp_path / "my_bundle", dataset)
    assert found.result.overall.mean == pytest.approx(0.5)
    assert list(found.result.overall.sdr) == [0.25, 8.0]  # as its method's paper has them
    assert list(evaluate(tmp_path / "my_bundle", dataset, sdr_mm=(3,)).result.overall.sdr) == [3.0]
    for report in (
        '"wide"',
        '{"sdr_mm": 3}',
        '{"sdr_mm": ["x"]}',
        '{"sdr_mm": [1, -2]}',
        '{"limit_mm": "far"}',
        '{"limit_mm": 0}',
    ):
        (tmp_path / "my_bundle" / "inference.json").write_text(f'{{"report": {report}}}', encoding="utf-8")
        with pytest.raises(InputError, match=r"inference\.json: report"):
            evaluate(tmp_path / "my_bundle", dataset)
    said = {key: found.about[key] for key in ("detector", "dataset", "section")}
    assert said == {"detector": "my_bundle 7", "dataset": "boxes", "section": "validation"}
    assert f"numpy {np.__version__}" in found.about["versions"]
    assert "my_bundle 7, boxes, validation" in capsys.readouterr().out


def test_points_in_files_are_found_by_case_or_image_in_any_format(dataset, tmp_path):
    edit(dataset, lambda content: content["validation"][0].update(name="first"))
    folder = tmp_path / "predicted"
    folder.mkdir()
    write_points(
        Landmarks(("a", "b", "x"), scan((1, 0, 0))[1].points_mm[:3] + np.array([0, 0, 2])), folder / "v1.mrk.json"
    )
    write_points(scan((1, 3, 4))[1], folder / "v2.fcsv")
    found = evaluate_points(folder, dataset, sdr_mm=(1,))
    # v1: a and b 2 mm off, c and d not named; v2: a, b, c right, d given though it is absent.
    assert (found.result.overall.n, found.result.overall.missed) == (5, 2)
    assert found.result.overall.mean == pytest.approx(4 / 5)
    assert found.result.overall.sdr[1.0] == pytest.approx(3 / 7)
    assert found.about["detector"] == "predicted"
    assert (found.missing.both, found.missing.reported, found.missing.absent) == (0, 2, 1)


def test_points_can_be_evaluated_without_the_images(dataset, tmp_path, capsys):
    folder = tmp_path / "predicted"
    folder.mkdir()
    for name, shift in (("v1", (1, 0, 0)), ("v2", (1, 3, 4))):
        write_points(scan(shift)[1], folder / f"{name}.csv")
        (tmp_path / f"{name}.nrrd").unlink()
    evaluate_points(folder, dataset, tmp_path / "out")
    assert "no picture of v1: " in capsys.readouterr().out
    assert (tmp_path / "out" / "index.html").is_file()
    assert not list((tmp_path / "out").glob("worst*"))


def test_several_instances_are_matched_within_the_limit(tmp_path):
    write_points(Landmarks(("s", "s", "s"), [[0, 0, 0], [0, 0, 9], [0, 0, 18]]), tmp_path / "a.csv")
    folder = tmp_path / "predicted"
    folder.mkdir()
    write_points(Landmarks(("s", "s", "s"), [[0, 0, 19], [0, 0, 1], [0, 0, 99]]), folder / "a.csv")
    dataset = tmp_path / "d.json"
    dataset.write_text('{"landmarks": ["s"], "test": [{"image": "a.png", "points": "a.csv"}]}', encoding="utf-8")
    found = evaluate_points(folder, dataset, section="test", limit_mm=5)
    assert (found.result.overall.n, found.result.overall.missed, found.result.overall.mean) == (2, 1, 1.0)
    assert found.notes == ("There are no training cases with points, so there is no mean shape to compare with.",)


def film_dataset(tmp_path, unit):
    from PIL import Image

    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(tmp_path / "f.png")
    write_points(Landmarks(("a",), [[-3.0, -2.0, 0.0]], unit=unit), tmp_path / "f.csv")
    dataset = tmp_path / "d.json"
    dataset.write_text('{"landmarks": ["a"], "test": [{"image": "f.png", "points": "f.csv"}]}', encoding="utf-8")
    return dataset


class OnFilm:
    names = ("a", "b")

    def detect(self, volume):
        return Landmarks(self.names, [[-3.0, -6.0, 0.0], [0, 0, 0]], unit=volume.unit)


@pytest.mark.parametrize("unit", ["px", "mm"])
def test_films_without_spacing_are_measured_in_pixels_and_it_is_said(tmp_path, capsys, unit):
    # Where the file of points does not say that it counts pixels, the image does.
    found = evaluate_detector(OnFilm(), film_dataset(tmp_path, unit), tmp_path / "out", section="test")
    assert found.unit == "px"
    assert found.result.overall.mean == 4.0
    assert "errors in pixels, since the images have no spacing" in capsys.readouterr().out
    assert "error_px" in (tmp_path / "out" / "points.csv").read_text(encoding="utf-8").splitlines()[0]


def test_points_in_pixels_do_not_fit_an_image_with_spacing(tmp_path):
    dataset = film_dataset(tmp_path, "px")
    edit(dataset, lambda content: content.update(spacing_mm=0.2))
    with pytest.raises(InputError, match=r"f\.csv: is in px, but .*f\.png has a spacing; write the points in mm"):
        evaluate_detector(OnFilm(), dataset, section="test")


def test_units_of_a_section_are_not_mixed(tmp_path):
    dataset = film_dataset(tmp_path, "mm")
    case = {"image": "f.png", "points": "f.csv", "name": "scaled", "spacing_mm": 0.2}
    edit(dataset, lambda content: content["test"].append(case))
    with pytest.raises(InputError, match="case 'scaled' is in mm, but 'f' in px"):
        evaluate_detector(OnFilm(), dataset, section="test")


def test_what_is_left_out_is_said(dataset, capsys):
    edit(dataset, lambda content: content["landmarks"].append("unheard"))
    edit(dataset, lambda content: content["validation"].append({"image": "v1.nrrd", "name": "unmarked"}))
    found = evaluate_detector(Known(), dataset)
    assert list(found.result.landmarks) == list(NAMES)
    assert "Left out, since they have no points: unmarked." in found.notes
    assert "Left out, since the detector does not know them: unheard." in found.notes
    assert "unheard" in capsys.readouterr().out


def test_wrong_input_is_named(dataset, tmp_path):
    class Other(Known):
        names = ("x", "y")

    with pytest.raises(InputError, match="the detector knows none of its landmarks, but x, y; choose another"):
        evaluate_detector(Other(), dataset)
    with pytest.raises(InputError, match="no cases in section 'test'"):
        evaluate_detector(Known(), dataset, section="test")
    with pytest.raises(InputError, match=r"predicted: has no points for case 'v1'; add v1 with one of \.mrk\.json"):
        evaluate_points(tmp_path / "predicted", dataset)
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(InputError, match="file: cannot be written"):
        evaluate_detector(Known(), dataset, tmp_path / "file")
    write_image(Volume(np.zeros((4, 4, 4), np.uint8), Grid((4, 4, 4), np.eye(4))), tmp_path / "v2.nrrd")
    with pytest.raises(InputError, match=r"v2\.nrrd: the image is constant"):
        evaluate_detector(Known(), dataset)


def test_predictions_of_another_data_set_or_unit_are_refused(dataset, tmp_path):
    folder = tmp_path / "predicted"
    folder.mkdir()
    write_points(Landmarks(("x",), [[0, 0, 0]]), folder / "v1.csv")
    with pytest.raises(InputError, match=r"v1\.csv: names no landmark of the data set, but x; rename its points"):
        evaluate_points(folder, dataset)
    write_points(Landmarks(("a",), [[0, 0, 0]], unit="px"), folder / "v1.csv")
    with pytest.raises(InputError, match=r"v1\.csv: is in px, but .*v1\.csv in mm; bring both to one unit"):
        evaluate_points(folder, dataset)


def test_a_section_without_points_or_with_doubled_names_is_refused(dataset):
    edit(dataset, lambda content: content["validation"][1].update(name="v1"))
    with pytest.raises(InputError, match="several cases are called v1; rename them"):
        evaluate_detector(Known(), dataset)
    edit(dataset, lambda content: content.update(validation=[{"image": "v1.nrrd"}]))
    with pytest.raises(InputError, match="validation: no case has points to compare with"):
        evaluate_detector(Known(), dataset)


class Outlines(Known):
    """A detector that says how well it outlines."""

    def compare_masks(self, volume, truth):
        assert len(truth) == len(self.names)
        return {"box": {"dice": 0.5, "asd": 2.0}, "ball": {"dice": 1.0, "asd": float("nan")}}


def test_contours_through_found_points_are_measured_on_films(tmp_path, capsys):
    """A square of 8 pixels found 2 pixels to the side: three quarters in common. The triangle lacks a point."""
    names, corners = tuple("abcd"), np.array([[3.6, 3.6, 0], [3.6, 11.6, 0], [11.6, 11.6, 0], [11.6, 3.6, 0]])
    grid = Grid((24, 24, 1), np.diag([0.5, 0.5, 1.0, 1.0]))
    write_image(Volume(np.arange(576, dtype=np.uint8).reshape(24, 24, 1), grid), tmp_path / "film.nrrd")
    write_points(Landmarks((*names, "e"), [*grid.to_mm(corners), [np.nan] * 3]), tmp_path / "film.csv")
    shapes = {"square": list(names[:4])}
    content = {"name": "films", "landmarks": [*names, "e"], "structures": shapes}
    content["validation"] = [{"image": "film.nrrd", "points": "film.csv"}]
    (tmp_path / "films.json").write_text(json.dumps(content))

    class Found(Known):
        names = (*tuple("abcd"), "e")

        def detect(self, volume):
            return Landmarks(self.names, [*volume.grid.to_mm(corners + np.array([2, 0, 0])), [1.0, 1, 0]])

    found = evaluate_detector(Found(), tmp_path / "films.json")
    assert found.structures["square"]["dice"] == pytest.approx(0.75)
    assert "Outline of square: Dice 75.0%" in capsys.readouterr().out


def test_outlines_are_measured_where_the_detector_draws_any(dataset, tmp_path, capsys):
    found = evaluate_detector(Outlines(), dataset, tmp_path / "out")
    assert found.structures["box"] == {"dice": 0.5, "asd": 2.0}
    assert found.structures["ball"]["dice"] == 1.0
    assert np.isnan(found.structures["ball"]["asd"])
    assert "Outline of box: Dice 50.0%, surface distance 2.00 mm." in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["structures"]["ball"]["asd"] is None


def test_a_result_no_better_than_the_aligned_mean_shape_is_called_undertrained(dataset, tmp_path, capsys):
    for name in ("t1", "t2"):  # a shape that is none of the validation's: 1 mm too high for one of four points
        _, points = scan((0, 0, 0))
        raised = points.points_mm + np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1.0]])
        write_points(Landmarks(NAMES, raised), tmp_path / f"{name}.csv")
    bad = evaluate_detector(Known((3, 4, 0)), dataset, tmp_path / "bad")
    mean = bad.beside["mean shape, aligned"].overall.mean
    assert 0.05 < mean < 1
    note = f"Undertrained: mean error 5.00 mm, no better than the aligned mean shape ({mean:.2f} mm). Train longer"
    assert bad.notes[0].startswith(note)
    assert note in capsys.readouterr().out
    assert note in (tmp_path / "bad" / "index.html").read_text(encoding="utf-8")
    good = evaluate_detector(Known((0, 0, 0.5 * mean)), dataset)
    assert not any("Undertrained" in note for note in good.notes)
    assert "Undertrained" not in capsys.readouterr().out
    none = evaluate_detector(Known(missing=NAMES), dataset)
    assert none.notes[0].startswith("Undertrained: no point found, no better than the aligned mean shape")
    points = evaluate_points(tmp_path, dataset)  # which nobody need have learnt
    assert not any("Undertrained" in note for note in points.notes)


def test_an_evaluation_within_a_time_measures_one_case_at_least_and_says_so(dataset, tmp_path, monkeypatch):
    room = ModuleType("lmk3d.inference")
    room.LandmarkDetector = Known
    monkeypatch.setitem(sys.modules, "lmk3d.inference", room)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "inference.json").write_text("{}", encoding="utf-8")
    found = evaluate(tmp_path / "bundle", dataset, until=0.0)
    assert found.cases == 1
    assert "Stopped by the time limit after 1 of 2 cases; lmk3d evaluate measures all." in found.notes
    assert evaluate(tmp_path / "bundle", dataset, until=1e9).cases == 2
