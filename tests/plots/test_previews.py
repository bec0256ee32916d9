"""Preview: what stands on it, and that it can be read."""

from dataclasses import replace

import numpy as np
import pytest

from lmk3d.geometry import Grid, Volume
from lmk3d.landmarks import Assessment, Landmarks
from lmk3d.plots import preview, save_preview
from lmk3d.plots.sheet import DOUBT, MARK, TEXT, UNLIKE

GONE = [np.nan] * 3


def marks_in(volume, count, seed=2):
    generator = np.random.default_rng(seed)
    points = volume.grid.to_mm(generator.uniform(0.2, 0.8, (count, 3)) * (np.array(volume.grid.shape) - 1))
    names = [f"a landmark with a long name, number {row}" for row in range(count)]
    return Landmarks(names, points, generator.uniform(size=count), generator.uniform(0, 20, count), unit=volume.unit)


@pytest.mark.parametrize(("count", "pages"), [(2, 1), (7, 1), (16, 2)])
def test_a_preview_is_legible_with_few_and_many_landmarks(volume, words, assert_legible, count, pages):
    figures = preview(volume, marks_in(volume, count), title="a_scan_with_a_name_that_goes_on_and_on" * 3 + ".nii.gz")
    assert len(figures) == pages
    for figure in figures[-1:]:
        assert_legible(figure)
        assert len(figure.axes[0].images) == 3 * count // pages
        assert figure.bbox.width <= 2000
        assert figure.bbox.height <= 1500
    assert ("page 1 of 2" in words(figures[0])) == (pages == 2)


def test_a_film_with_many_points_is_one_legible_picture(film, words, assert_legible):
    points = [[-15.0 - 60 * (row % 2), -4.0 - 1.6 * row, 0.0] for row in range(68)]
    marks = Landmarks([f"vertebra_{row}" for row in range(68)], points, np.full(68, 0.7), unit="px")
    (figure,) = preview(film, marks, title="film.png")
    assert_legible(figure)
    assert len(figure.axes[0].images) == 1
    assert "vertebra_67" in words(figure)


def test_a_preview_says_what_is_sure_what_is_missing_and_what_lies_outside(volume, words):
    center = volume.grid.center_mm
    names = ("root", "apex", "spine", "spine", "lost", "gone")
    points = [center, center + 1, center + 2, center + 500, GONE, GONE]
    marks = Landmarks(names, points, [0.93, 0.21, np.nan, 0.8, 0.04, np.nan], [0.25, 12.34, np.nan, 1, np.nan, np.nan])
    (figure,) = preview(volume, marks, title="scan.nii.gz")
    said = words(figure)
    assert "confidence 0.93   ±0.25 mm" in said
    assert "confidence 0.21   ±12.3 mm" in said
    assert "spine (1)" in said
    assert "spine (2)" in said
    assert "confidence 0.80   ±1.0 mm   outside the image" in said
    assert "Reported missing (presence score): lost (0.04), gone" in said
    doubtful = [text.get_text() for text in figure.axes[0].texts if text.get_color() == DOUBT]
    assert doubtful == ["confidence 0.21   ±12.3 mm", "confidence 0.80   ±1.0 mm   outside the image"]


def test_a_preview_says_what_is_known_about_all_points(volume, film, assert_legible):
    for image, marks in ((volume, marks_in(volume, 2)), (film, marks_in(film, 2))):
        (figure,) = preview(image, replace(marks, notes=("trained on phantoms alone",)))
        assert_legible(figure)
        plain = [text.get_text() for text in figure.axes[0].texts if text.get_color() == TEXT]
        assert "Note: trained on phantoms alone" in plain


def test_names_are_written_as_they_are(volume, words, tmp_path):
    (figure,) = preview(volume, replace(marks_in(volume, 2), names=("$\\frac$", "a\x1b[2J\nb")), title="t\x07")
    said = words(figure)
    assert "$\\frac$" in said
    assert r"a\x1b[2J\nb" in said
    assert r"t\x07" in said
    figure.savefig(tmp_path / "a.png")  # a sign that no font has would warn


def test_a_preview_without_any_point_says_so(volume, film, words, assert_legible):
    nothing = Landmarks(("a", "b"), [GONE, GONE])
    for image in (volume, film):
        (figure,) = preview(image, nothing)
        assert "No landmark was found; reported missing: a, b" in words(figure)
        assert_legible(figure)


def test_the_cross_stands_where_the_landmark_is():
    # One bright voxel on the film; the mark's middle is left open, so the voxel shines through it.
    affine = np.array([[0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    data = np.zeros((60, 40, 1), np.uint8)
    data[20, 30] = 200
    volume = Volume(data, Grid(data.shape, affine))
    (figure,) = preview(volume, Landmarks(("a",), volume.grid.to_mm([[20, 30, 0]])))
    figure.canvas.draw()
    shown = np.asarray(figure.canvas.buffer_rgba()).astype(int)
    center = (
        figure.axes[0]
        .lines[0]
        .get_transform()
        .transform(np.mean([line.get_xydata().mean(0) for line in figure.axes[0].lines[-4:]], axis=0))
    )
    x, y = round(center[0]), round(figure.bbox.height - center[1])
    # 20 rows of 60 down in a picture of 950 hundredths of an inch at 120 dpi, below a head of 46.
    assert y == pytest.approx((46 + 950 * 20.5 / 60) * 1.2, abs=1)
    assert x == pytest.approx((12 + 950 * 30.5 / 60) * 1.2, abs=1)
    assert shown[y, x, :3].min() > 220


def test_pages_are_written_beside_each_other_and_whole(volume, tmp_path, monkeypatch):
    monkeypatch.setattr("lmk3d.plots.previews._PER_PAGE", 1)  # two small pages are drawn sooner than two full ones
    one = save_preview(volume, marks_in(volume, 1), tmp_path / "a.preview.png")
    assert one == [tmp_path / "a.preview.png"]
    many = save_preview(volume, marks_in(volume, 2), tmp_path / "b.preview.png")
    assert many == [tmp_path / "b.preview-1.png", tmp_path / "b.preview-2.png"]
    assert sorted(tmp_path.iterdir()) == sorted(one + many)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in one + many)


@pytest.mark.parametrize("flat", [False, True])
def test_points_that_are_not_trusted_are_seen_as_such(volume, film, words, assert_legible, flat):
    image = film if flat else volume
    marks = replace(marks_in(image, 3), names=("root", "apex", "spine"), coverage=0.9)
    if flat:
        marks = replace(marks, points_mm=marks.points_mm * [1, 1, 0])
    doubtful = replace(marks, assessment=Assessment((), ("", "far off", "")))
    (figure,) = preview(image, doubtful.withheld(keep_points=True), title="scan.nii.gz")
    assert_legible(figure)
    said = [text.get_text() for text in figure.axes[0].texts if text.get_color() == DOUBT]
    assert said[0] == "DOUBTFUL: scan.nii.gz"
    assert "doubtful" in said
    assert "Not trusted: apex: far off" in said
    assert ("90 %: " if flat else "90 % within ") in words(figure)
    dashed = {line.get_color(): line.is_dashed() for line in figure.axes[0].lines}
    assert dashed[DOUBT]
    assert not dashed[MARK]
    (figure,) = preview(image, doubtful.withheld(), title="scan.nii.gz")
    assert "Withheld, since they are not trusted: apex" in words(figure)


def test_a_scan_unlike_the_training_data_shows_no_confidence(volume, words):
    marks = replace(marks_in(volume, 2), names=("root", "apex"), assessment=Assessment(("no CT",), ("", "far off")))
    (figure,) = preview(volume, marks, title="scan.nii.gz")
    said = words(figure)
    assert said.count("unlike the training data") == 2
    assert "UNLIKE THE TRAINING DATA: scan.nii.gz" in said
    assert "Not trusted: no CT" in said
    assert "confidence" not in said
    assert "far off" not in said
    assert "\N{PLUS-MINUS SIGN}" not in said
    crosses = [line for line in figure.axes[0].lines if line.get_color() in (MARK, UNLIKE)]
    assert {line.get_color() for line in crosses} == {UNLIKE}
    (figure,) = preview(volume, marks.withheld(), title="scan.nii.gz")
    assert "Withheld, since they are not trusted: root, apex" in words(figure)
    gone = replace(marks, points_mm=[marks.points_mm[0], [np.nan] * 3])
    (figure,) = preview(volume, gone.withheld(), title="scan.nii.gz")
    assert "Reported missing: apex | Withheld, since they are not trusted: root |" in words(figure)
    assert "no point to show; this is the middle of the scan" in words(figure)
    assert len(figure.axes[0].images) == 3
    warned = [text.get_text() for text in figure.axes[0].texts if text.get_color() == UNLIKE]
    assert warned[1:] == ["Withheld, since they are not trusted: root", "Not trusted: no CT"]


def test_a_trusted_scan_is_said_to_be_one(volume, words):
    marks = replace(marks_in(volume, 2), assessment=Assessment((), ("", "")))
    assert words(preview(volume, marks, title="scan.nii.gz")[0]).startswith("TRUSTED: scan.nii.gz")
