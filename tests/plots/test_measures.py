"""Pictures of measurements."""

import numpy as np
import pytest

from lmk3d.landmarks import Landmarks
from lmk3d.plots.measures import MeasureDrawing, MeasureLine, measure_sheet


@pytest.fixture
def drawing(volume):
    points = volume.grid.center_mm + np.array([[0, 0, 0], [12, 0, 0], [0, 10, 0], [np.nan] * 3])
    lines = (
        MeasureLine(1, "side", "12.00 ± 0.50 mm", ((points[0], points[1]),)),
        MeasureLine(2, "corner", "90.0°", ((points[0], points[1]), (points[0], points[2]))),
        MeasureLine(3, "height", "lacks top", ()),
    )
    return MeasureDrawing("a corner", Landmarks(("a", "b", "c", "top"), points), lines, (points[:3],))


def test_values_names_and_what_is_missing_stand_beside_the_lines(drawing, words):
    said = words(measure_sheet(drawing))
    for part in ("a corner", "side", "12.00 ± 0.50 mm", "90.0°", "lacks top", "top  (missing)", "sagittal"):
        assert part in said


def test_lines_and_outlines_are_drawn_on_each_side(drawing):
    lines = measure_sheet(drawing).axes[0].lines
    assert len(lines) == 3 * (3 + 3 + 3 * 4)  # measured lines, a triangle, and the four arms of three crosses


def test_an_image_lies_behind_them(drawing, volume):
    assert len(measure_sheet(drawing, volume).axes[0].images) == 3


def test_a_film_is_shown_once_and_whole(film, words):
    points = film.grid.to_mm(np.array([[10, 10, 0], [50, 60, 0]]))
    line = MeasureLine(1, "side", "10 px", ((points[0], points[1]),))
    figure = measure_sheet(MeasureDrawing("film", Landmarks(("a", "b"), points, unit="px"), (line,), ()), film)
    assert len(figure.axes[0].images) == 1
    assert "axial" not in words(figure)


def test_points_that_are_all_missing_leave_an_empty_picture(words):
    empty = MeasureDrawing("none", Landmarks(("a",), [[np.nan] * 3]), (MeasureLine(1, "m", "lacks a", ()),), ())
    assert "lacks a" in words(measure_sheet(empty))
