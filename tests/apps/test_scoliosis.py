from __future__ import annotations

import csv
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.apps.films import from_film
from lmk3d.apps.scoliosis import CORNERS, CobbAngles, cobb_angles, measure_cobb, smape, spine_picture
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.landmarks import Landmarks

DATA = Path(os.environ.get("LMK3D_DATA") or Path(__file__).parents[3] / "shared" / "data") / "spine_aasce2019"
FILM = np.array([[0, -1.0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]])


def spine(tilts_deg, across):
    """(17, 4, 2) corners of boxes 40 wide and 20 high, 30 below each other, tilted clockwise, middles at ``across``."""
    tilts = np.radians(tilts_deg)
    wide = 20 * np.stack([np.cos(tilts), np.sin(tilts)], axis=1)
    high = 10 * np.stack([-np.sin(tilts), np.cos(tilts)], axis=1)
    middle = np.stack([np.asarray(across, float), 50 + 30 * np.arange(17)], axis=1)
    return np.stack([middle - wide - high, middle + wide - high, middle - wide + high, middle + wide + high], axis=1)


BEND = 40 * np.sin(np.linspace(0, np.pi, 17)) + 200
DOUBLE = 40 * np.sin(np.linspace(0, 2 * np.pi, 17)) + 200


def named(corners, unit="px"):
    return Landmarks(CORNERS, from_film(np.reshape(corners, (68, 2))), unit=unit)


def tilts(**at):
    """No tilt but at these vertebrae (t5=-20: minus 20 degrees at number 5)."""
    values = np.zeros(17)
    for name, angle in at.items():
        values[int(name[1:]) - 1] = angle
    return values


def ends(angles: CobbAngles):
    return [(own.name, round(own.angle_deg, 6), own.upper, own.lower) for own in angles.curves]


def test_one_bend_is_measured_against_first_and_last_vertebra():
    found = cobb_angles(spine(tilts(t1=-3, t5=-20, t12=25, t17=4), BEND))
    assert not found.s_shaped
    assert ends(found) == [("PT", 17, 1, 5), ("MT", 45, 5, 12), ("TL", 21, 12, 17)]
    assert found.challenge_deg == pytest.approx((45, 17, 21))


def test_double_bend_high_on_the_film_takes_the_largest_above_and_below():
    found = cobb_angles(spine(tilts(t2=9, t4=-15, t9=30, t13=-12, t17=5), DOUBLE), film_height=700)
    assert found.s_shaped
    assert ends(found) == [("PT", 24, 2, 4), ("MT", 45, 4, 9), ("TL", 42, 9, 13)]
    assert found.challenge_deg == pytest.approx((45, 24, 42))


def test_double_bend_low_on_the_film_takes_two_curves_above():
    found = cobb_angles(spine(tilts(t2=4, t4=-15, t10=20, t15=-30), DOUBLE), film_height=500)
    assert found.largest == 2
    assert ends(found) == [("PT", 19, 2, 4), ("MT", 35, 4, 10), ("TL", 50, 10, 15)]
    assert found.challenge_deg == pytest.approx((50, 35, 19))
    high = cobb_angles(spine(tilts(t2=4, t4=-15, t10=20, t15=-30), DOUBLE), film_height=2000)
    assert ends(high)[1:] == [("MT", 50, 10, 15), ("TL", 30, 15, 16)]


def test_film_counts_as_ending_with_the_spine_where_nobody_says_its_height():
    corners = spine(tilts(t2=4, t4=-15, t10=20, t15=-30), DOUBLE)
    spine_ends = corners.reshape(-1, 2, 2).mean(1)[[0, -1], 1]
    assert ends(cobb_angles(corners)) == ends(cobb_angles(corners, film_height=float(spine_ends.sum())))


def test_angles_stay_when_the_film_is_scaled_and_the_same_film_comes_named():
    corners = spine(tilts(t2=9, t4=-15, t9=30, t13=-12), DOUBLE)
    film = Volume(np.zeros((700, 400, 1), np.uint8), Grid((700, 400, 1), FILM), "px")
    expected = ends(cobb_angles(corners, film_height=700))
    assert ends(measure_cobb(named(corners), film=film)) == expected
    assert ends(cobb_angles(0.3 * corners, film_height=210)) == expected


def changed(corners, row, order):
    corners = corners.copy()
    corners[row] = corners[row][..., order, :]
    return corners


def missing(corners):
    corners = corners.copy()
    corners[4, 1] = np.nan
    return named(corners)


STRAIGHT = spine(tilts(t5=-20, t12=25), BEND)


@pytest.mark.parametrize(
    ("points", "match"),
    [
        (named(changed(STRAIGHT, slice(None), [1, 0, 3, 2])), "the film or the names are mirrored"),
        (named(changed(STRAIGHT, 7, [1, 0, 3, 2])), "V08: its left corners lie right of its right ones"),
        (named(changed(STRAIGHT, 2, [2, 3, 0, 1])), "V03: its top corners lie below its bottom ones"),
        (named(STRAIGHT[[*range(15), 16, 15]]), "V17 does not lie below V16; number the vertebrae from the top down"),
        (missing(STRAIGHT), r"V05_top_right is missing \(NaN\)"),
        (named(STRAIGHT).rows(range(60)), "lacks V16_top_left, V16_top_right, V16_bottom_left, V16_bottom_right and 4"),
    ],
)
def test_corners_that_no_spine_has_are_refused(points, match):
    with pytest.raises(InputError, match=match):
        measure_cobb(points)


def test_corners_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"finite \(17, 4, 2\), got shape \(12, 4, 2\)"):
        cobb_angles(STRAIGHT[:12])


def test_smape_is_the_mean_over_spines():
    # One spine is off by 2, 1 and 0 of 42, 19 and 20, the other not at all.
    assert smape([[22, 10, 10], [30, 20, 5]], [[20, 9, 10], [30, 20, 5]]) == pytest.approx(100 * (3 / 81) / 2)
    with pytest.raises(ValueError, match="cannot be compared"):
        smape([[1, 2, 3]], [[1, 2, 3], [1, 2, 3]])
    with pytest.raises(ValueError, match="none above 0"):
        smape([[0, 0, 0]], [[0, 0, 0]])


def test_picture_names_curves_and_vertebrae():
    points = named(STRAIGHT)
    words = [text.get_text() for text in spine_picture(points, measure_cobb(points), title="x").axes[0].texts]
    assert {"17", "MT main thoracic", "45.0°     5 to 12"} <= set(words)


def test_result_reads_as_rows_and_as_a_dict():
    found = cobb_angles(STRAIGHT)
    assert found.rows()[1]["curve"] == "MT"
    assert found.as_dict()["curves"]["MT"]["upper"] == 5
    assert found.as_dict()["largest"] == "MT"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the AASCE 2019 films")
def test_given_angles_of_aasce_2019_come_back_from_the_given_corners():
    from PIL import Image

    corners = defaultdict(dict)
    with (DATA / "landmarks.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            corners[row["case"]][row["landmark"]] = [float(row["column"]), float(row["row"])]
    with (DATA / "cobb_angles.csv").open(encoding="utf-8", newline="") as file:
        given = {
            row["case"]: [float(row[f"angle{number}_deg"]) for number in (1, 2, 3)] for row in csv.DictReader(file)
        }
    found = []
    for case in given:
        with Image.open(DATA / "images" / f"{case}.jpg") as film:
            height = film.height
        own = np.array([corners[case][name] for name in CORNERS]).reshape(17, 4, 2)
        found.append(cobb_angles(own, film_height=height).challenge_deg)
    assert len(found) == 481
    assert_allclose(found, list(given.values()), atol=0.1)  # the given ones are rounded corners' angles
