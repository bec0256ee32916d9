from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from lmk3d.geometry import Grid, Volume
from lmk3d.plots.tracing import Mark, Row, Stroke, tracing

# 100 rows and 50 columns of 1 mm, as films lie.
GRID = Grid((100, 50, 1), np.array([[0, -1.0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]]))


def test_strokes_marks_and_rows_stand_where_they_belong():
    film = Volume(np.arange(5000, dtype=np.int16).reshape(100, 50, 1), GRID)
    points = GRID.to_mm([[0, 0, 0], [99, 0, 0], [99, 49, 0]])
    figure = tracing(film, [Stroke(points)], [Mark(points[0], "A", shift=(3, 4)), Mark(points[2])], [Row("x", "7°")])
    axes = figure.axes[0]
    picture = axes.images[0].get_extent()  # left, right, bottom, top
    assert_allclose(picture[1] - picture[0], 950 / 2)
    assert_allclose(picture[2] - picture[3], 950)
    pixel = 9.5
    down, across = (np.array(line.get_xydata()) for line in axes.lines[:2])
    assert_allclose(down[0], [picture[0] + pixel / 2, picture[3] + pixel / 2])
    assert_allclose(down[1], [picture[0] + pixel / 2, picture[2] - pixel / 2])
    assert_allclose(across[1], [picture[1] - pixel / 2, picture[2] - pixel / 2])
    texts = {text.get_text(): text.get_position() for text in axes.texts}
    assert_allclose(texts["A"], down[0] + [3, 4])
    assert texts["7°"][0] > texts["x"][0] > picture[1]
    assert len(axes.lines) == 2 + 4  # the second mark is an open cross of four lines
