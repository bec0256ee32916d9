from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.apps.cephalometry import MEASURES, POINTS, Cephalometry, agreement, ceph_picture, cephalometry
from lmk3d.apps.films import from_film
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.landmarks import Landmarks

# A face looking right, (right, down) in mm: S-N and Frankfort lie level, everything else has small whole numbers.
FACE = {
    "S": (0, 0), "N": (70, 0), "Po": (0, 30), "Or": (60, 30), "A": (60, 50), "B": (50, 80), "Pog": (50, 100),
    "Me": (45, 105), "Gn": (48, 104), "Go": (5, 80), "L1": (62, 62), "U1": (65, 58), "PNS": (20, 45), "ANS": (60, 48),
}  # fmt: skip


def face(*, scale=1.0, turn_deg=0.0, mirror=False, unit="mm", **moved):
    """Landmarks of the face after moving some points, mirroring and turning it about the sella."""
    points = np.array([moved.get(name, FACE[name]) for name in POINTS], float) * [-1 if mirror else 1, 1] * scale
    cosine, sine = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    points = points @ np.array([[cosine, sine], [-sine, cosine]]) + [120, 90]
    return Landmarks(tuple(POINTS.values()), from_film(points), unit=unit)


def degrees(tangent):
    return np.degrees(np.arctan(tangent))


def test_measures_are_those_worked_out_by_hand():
    sna, snb = degrees(50 / 10), degrees(80 / 20)  # from N: S is 70 to the left, A 10 back and 50 down, B 20 and 80
    palatal = degrees(3 / 40)  # PNS to ANS falls by 3 on 40, Frankfort lies level
    # A-B leans back by atan(10 / 30); Me-Go rises to the back by atan(25 / 40): what lies between them.
    bite = 90 + degrees(10 / 30) - degrees(25 / 40)
    facial = degrees(100 / 20)  # N to Pog is 20 back and 100 down
    behind = degrees(10 / 30) - degrees(20 / 100)  # B lies behind the facial line: counts negative
    expected = {
        "ANB": sna - snb,
        "SNB": snb,
        "SNA": sna,
        "ODI": bite + palatal,
        "APDI": facial - behind + palatal,
        "FHI": np.hypot(5, 80) / np.hypot(25, 105),
        "FMA": degrees(24 / 43),
        "MW": 5.0,  # 3 across and 4 down, the upper incisor in front
    }
    measured = cephalometry(face())
    assert measured.faces == "right"
    assert list(measured.values) == list(MEASURES)
    assert_allclose([measured.values[name] for name in expected], list(expected.values()), atol=1e-9)
    assert_allclose([round(value, 1) for value in expected.values()], [2.7, 76.0, 78.7, 80.7, 75.9, 0.7, 29.2, 5.0])


def test_apdi_is_the_angle_between_palate_and_a_b():
    """Kim and Vietas 1978: the three angles add up to it, whatever their signs."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        own = {
            name: np.array(FACE[name]) + generator.uniform(-3, 3, 2) for name in ("A", "B", "Pog", "PNS", "ANS", "Or")
        }
        back, down = own["PNS"] - own["ANS"], own["B"] - own["A"]
        angle = np.degrees(np.arccos(back @ down / np.linalg.norm(back) / np.linalg.norm(down)))
        assert cephalometry(face(**own)).values["APDI"] == pytest.approx(angle)


@pytest.mark.parametrize("turn_deg", [0, 17, -25])
def test_a_mirrored_or_tilted_film_measures_the_same(turn_deg):
    upright, other = cephalometry(face()), cephalometry(face(mirror=True, turn_deg=turn_deg))
    assert other.faces == "left"
    assert_allclose(list(other.values.values()), list(upright.values.values()))


def test_lower_incisor_in_front_makes_mw_negative():
    swapped = cephalometry(face(L1=FACE["U1"], U1=FACE["L1"]))
    assert swapped.values["MW"] == pytest.approx(-5)
    assert swapped.classes["MW"] == 3


@pytest.mark.parametrize(
    ("name", "values", "classes"),
    [
        ("ANB", [3.19, 3.2, 5.7, 5.71], [3, 1, 1, 2]),
        ("SNB", [74.5, 74.6, 78.7, 78.8], [2, 1, 1, 3]),
        ("SNA", [79.3, 79.4, 83.2, 83.3], [3, 1, 1, 2]),
        ("ODI", [68.3, 68.4, 80.5, 80.6], [3, 1, 1, 2]),
        ("APDI", [77.5, 77.6, 85.2, 85.3], [2, 1, 1, 3]),
        ("FHI", [0.64, 0.65, 0.75, 0.76], [3, 1, 1, 2]),
        ("FMA", [26.7, 26.8, 31.4, 31.5], [3, 1, 1, 2]),
        ("MW", [-0.1, 0, 1.9, 2, 4.5, 4.6], [3, 2, 2, 1, 1, 4]),
    ],
)
def test_classes_have_the_limits_of_isbi_2015(name, values, classes):
    assert [MEASURES[name].classify(value)[0] for value in values] == classes


def test_no_number_has_no_class():
    with pytest.raises(ValueError, match="a value of nan has no class"):
        MEASURES["ANB"].classify(np.nan)


@pytest.mark.parametrize(
    ("points", "match"),
    [
        (face(unit="px"), "the points are in px, but MW is a distance in mm; give --spacing MM"),
        (face(scale=5), "350.0 mm apart, where 40 to 120 are possible; are the points in px"),
        (face(scale=0.1), "7.0 mm apart"),
        (face(Po=FACE["Or"], Or=FACE["Po"]), "orbitale lies behind porion.*are two names exchanged"),
        (face(Go=FACE["Me"], Me=FACE["Go"]), "menton lies behind gonion"),
        (face(A=FACE["B"]), "supramentale_B does not lie below subspinale_A"),
        (face(Gn=FACE["Go"]), "gnathion lies behind gonion"),
        (face(A=(60, -50)), "subspinale_A lies above the line from sella to nasion"),
        (face(B=(np.nan, np.nan)), r"supramentale_B is missing \(NaN\); every point is needed"),
    ],
)
def test_points_that_no_face_has_are_refused(points, match):
    with pytest.raises(InputError, match=match):
        cephalometry(points)


def test_unknown_names_are_refused_with_the_nearest():
    points = face()
    wrong = replace(points, names=tuple("nasoin" if name == "nasion" else name for name in points.names))
    with pytest.raises(InputError, match=r"lacks nasion \(there is 'nasoin'\); rename the points"):
        cephalometry(wrong)


def test_agreement_counts_classes_and_differences():
    def reader(anb):
        return Cephalometry({**dict.fromkeys(MEASURES, 0.0), "ANB": anb}, "right")

    first = [reader(anb) for anb in (4, 4, 6, 1)]
    second = [reader(anb) for anb in (5, 6, 7, 1)]
    found = agreement(first, second)["ANB"]
    assert found.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert found.success_rate == pytest.approx(75)  # three of four
    assert found.diagonal_mean == pytest.approx(100 * (0.5 + 1 + 1) / 3)
    assert (found.mean_difference, found.mean_absolute) == pytest.approx((1, 1))  # (1 + 2 + 1 + 0) / 4
    assert agreement(first, first)["SNA"].success_rate == 100


def test_agreement_needs_the_same_films():
    with pytest.raises(ValueError, match="1 films cannot be compared with 0"):
        agreement([Cephalometry({}, "right")], [])


def test_tracing_shows_measures_with_and_without_a_film():
    points = face()
    film = Volume(np.zeros((240, 250, 1), np.uint8), Grid((240, 250, 1), FILM))
    result = cephalometry(points, film=film)
    for picture in (ceph_picture(points, result, film=film, title="a film"), ceph_picture(points, result)):
        words = [text.get_text() for text in picture.axes[0].texts]
        assert {"Pog", "ANS", "ANB   2.7°", "MW   5.0 mm", "large overjet"} <= set(words)


FILM = np.array([[0, -1.0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]])


def test_rows_tell_class_and_meaning():
    row = cephalometry(face()).rows()[0]
    assert (row["measure"], row["class"], row["meaning"]) == ("ANB", 3, "class III")
    assert cephalometry(face()).as_dict()["measures"][0] == row
