"""The list of landmarks beside a scan."""

import numpy as np
import pytest

from lmk3d.geometry import Grid, Volume
from lmk3d.landmarks import Assessment, Landmarks
from lmk3d.metrics import compare
from lmk3d.pages.listing import color_of, landmark_list, legend, lies_outside, trust_banner, trust_of_rows

VOLUME = Volume(np.zeros((10, 10, 10), np.int16), Grid((10, 10, 10), np.eye(4)))
NOTHING = Landmarks((), np.empty((0, 3)))


def rows(points, truth=NOTHING):
    return compare(truth, points, dict.fromkeys((*truth.names, *points.names)))


def test_colours_run_from_red_over_yellow_to_blue():
    assert [color_of(value) for value in (0.0, 0.25, 0.5, 1.0)] == ["#ff5c39", "#ff9a43", "#ffd84d", "#5cbeff"]
    assert color_of(float("nan")) is None
    assert color_of(1.2) == color_of(1.0)


def test_what_is_missing_or_outside_is_said():
    points = Landmarks(("a", "b", "c"), [[1, 2, 3], [np.nan] * 3, [-20, 0, 0]])
    html = landmark_list(rows(points), VOLUME, points, several=False)
    assert html.count('<span class="status">missing</span>') == 1
    assert html.count('<span class="status">outside the image</span>') == 1
    assert "error mm" not in html


def test_errors_and_differences_of_two_files_are_said():
    truth = Landmarks(("a", "b"), [[1, 2, 3], [5, 5, 5]])
    points = Landmarks(("a", "c"), [[1, 5, 7], [4, 4, 4]], confidence=[0.25, 1.0])
    html = landmark_list(rows(points, truth), VOLUME, points, several=True)
    assert '<td data-value="5.0">5.00</td><td data-value="0.25">0.25</td>' in html
    assert "not found" in html
    assert "not in the truth" in html


def test_several_points_of_one_name_are_numbered():
    points = Landmarks(("s", "s"), [[1, 1, 1], [2, 2, 2]])
    html = landmark_list(rows(points), VOLUME, points, several=False)
    assert 'data-value="s"' in html
    assert 'data-value="s 2"' in html


def test_points_that_are_not_trusted_have_a_reason_in_place_of_confidence_and_error():
    assessment = Assessment((), ("", "far < off", "left of right"))
    points = Landmarks(
        "abc", [[1, 2, 3], [4, 5, 6], [np.nan] * 3], [0.9, 0.8, 0.7], [0.5, 0.6, np.nan], coverage=0.9,
        assessment=assessment, held_back=[False, False, True],
    )  # fmt: skip
    html = landmark_list(rows(points), VOLUME, points, several=False)
    assert "90 % radius mm" in html
    assert '<span class="status warn">doubtful: far &lt; off</span>' in html
    assert '<span class="status warn">withheld, doubtful: left of right</span>' in html
    assert "background:#ff9a52" in html
    assert 'data-value="0.9"' in html
    assert 'data-value="0.8"' not in html
    assert 'data-value="0.6"' not in html


def test_a_landmark_that_was_not_found_in_a_scan_unlike_the_training_is_missing():
    points = Landmarks("ab", [[1, 2, 3], [np.nan] * 3], [0.9, 0.2], assessment=Assessment(("no CT",), ("", "")))
    html = landmark_list(rows(points.withheld()), VOLUME, points.withheld(), several=False)
    assert '<span class="status warn">withheld, unlike the training data</span>' in html
    assert '<span class="status">missing</span>' in html
    assert 'data-value="0.' not in html


def test_each_point_of_a_name_has_its_own_verdict():
    points = Landmarks("ss", [[1, 1, 1], [2, 2, 2]], assessment=Assessment((), ("", "far off")))
    truth = Landmarks("ss", [[2, 2, 2], [1, 1, 1]])
    found = trust_of_rows(rows(points, truth), points)
    assert found == [("doubtful", "far off"), ("trusted", "")]
    assert trust_of_rows(rows(NOTHING, truth), NOTHING) == [("", "")] * 2


def test_the_verdict_on_all_stands_on_top():
    points = Landmarks("ab", [[1, 1, 1], [2, 2, 2]])
    assert trust_banner(points) == ""
    banners = [
        trust_banner(Landmarks("ab", points.points_mm, assessment=Assessment(*said)))
        for said in (((), ("", "")), ((), ("", "far off")), (("a <b>",), ("", "")))
    ]
    assert [
        word in banner for word, banner in zip(("Trusted", "1 of 2 points", "a &lt;b&gt;"), banners, strict=True)
    ] == [True] * 3


@pytest.mark.parametrize(("depth", "outside"), [(10, True), (1, False)])
def test_before_or_behind_the_plane_of_a_film_is_inside(depth, outside):
    volume = Volume(np.zeros((10, 10, depth), np.int16), Grid((10, 10, depth), np.eye(4)))
    (row,) = rows(Landmarks(("a",), [[2, 2, 50]]))
    assert lies_outside(row, volume) == outside


def test_the_legend_shows_only_what_is_there():
    of_a_film = legend(["a < b"], several=False, sure=False, suspect=None, film=True)
    assert not [word for word in ("truth", "confidence", "slice", "not trusted") if word in of_a_film]
    assert "a &lt; b" in of_a_film
    of_all = legend([], several=True, sure=True, suspect="#ff9a52", film=False)
    assert all(word in of_all for word in ("truth", "confidence", "slice", "not trusted"))
