from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.apps.films import blank_film, check_film, film_points, from_film, refuse_untrusted
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.landmarks import Assessment, Landmarks

FILM = np.array([[0, -0.5, 0, 0], [-0.5, 0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]])  # pixels of 0.5 mm
POINTS = Landmarks(("a", "b", "c"), from_film([[10, 20], [30, 5], [0, 0]]))


def film(shape=(60, 80, 1), affine=FILM, unit="mm"):
    return Volume(np.zeros(shape, np.uint8), Grid(shape, affine), unit)


def test_points_come_in_the_order_asked_for_and_go_back():
    assert_allclose(film_points(POINTS, ["b", "a"]), [[30, 5], [10, 20]])
    assert_allclose(from_film(film_points(POINTS, POINTS.names)), POINTS.points_mm)
    assert_allclose(film().grid.to_vox(POINTS["a"]), [[40, 20, 0]])  # row 40, column 20 of half a mm


@pytest.mark.parametrize(
    ("points", "match"),
    [
        (Landmarks(("a", "bb"), [[0, 0, 0], [1, 1, 0]]), r"lacks b \(there is 'bb'\)"),
        (Landmarks(("a", "xyz"), [[0, 0, 0], [1, 1, 0]]), r"lacks b \(there is a, xyz\); rename"),
        (Landmarks(("a", "b"), [[0, 0, 0], [np.nan] * 3]), "b is missing"),
        (Landmarks(("a", "b", "b"), [[0, 0, 0], [1, 1, 0], [2, 2, 0]]), "b has several points"),
        (Landmarks(("a", "b"), [[0, 0, 0], [9, 0, 7]]), "7 mm apart in depth; give points of one film"),
    ],
)
def test_points_that_are_not_there_or_on_no_film_are_refused(points, match):
    with pytest.raises(InputError, match=match):
        film_points(points, ["a", "b"])


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (film((60, 80, 2)), "has 2 slices"),
        (film(affine=np.eye(4)), "rows do not run down"),
        (film(unit="px"), "the film is in px, the points in mm; give --spacing"),
        (film((30, 80, 1)), "outside the film: 1 of 3 points, 'a' first"),
    ],
)
def test_films_of_other_points_are_refused(image, match):
    check_film(film(), POINTS)
    with pytest.raises(InputError, match=match):
        check_film(image, POINTS)


def test_blank_film_holds_its_points_with_an_edge():
    blank = blank_film(POINTS)
    check_film(blank, POINTS)
    assert_allclose(blank.grid.sides_mm[:2], [20 + 0.16 * 30, 30 + 0.16 * 30])  # 8 % of the longer side on each
    assert_allclose(-blank.grid.center_mm[:2], [15, 10])


def test_points_that_are_not_trusted_are_refused_by_name_and_reason():
    points = Landmarks(("a", "b"), [[-1, -2, 0], [-3, -4, 0]], assessment=Assessment((), ("", "far off")))
    refuse_untrusted(points, ["a"])
    assert film_points(points, ["a"]).tolist() == [[1, 2]]
    for given in (points, points.withheld()):
        with pytest.raises(InputError, match=r"not trusted: b \(far off\); place them by hand"):
            film_points(given, ["a", "b"])
