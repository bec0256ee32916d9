from __future__ import annotations

import numpy as np
import pytest

from lmk3d.geometry import random_rotation
from lmk3d.io.strays import find_strays

NAMES = ("front", "back", "top", "left ear", "right ear", "left jaw", "right jaw", "scar", "chin")
PAIRS = [("left ear", "right ear"), ("left jaw", "right jaw")]
HEAD = np.array(
    [
        *([0.0, 90, 10], [0, -80, 20], [0, 0, 95]),
        *([-70, -5, 0], [70, -5, 0], [-45, 30, -60], [45, 30, -60]),
        *([30, 60, 50], [0, 85, -70]),
    ]
)


def shapes(count=12, *, turned=False, seed=0):
    """Heads of several sizes, in any pose or upright, each point 2 mm off."""
    generator = np.random.default_rng(seed)
    heads = []
    for _ in range(count):
        turn = random_rotation(generator, np.pi if turned else 0.2)
        size = generator.uniform(0.8, 1.2)
        heads.append(size * (HEAD + generator.normal(0, 1.2, HEAD.shape)) @ turn.T + generator.uniform(-99, 99, 3))
    return heads


@pytest.mark.parametrize("turned", [False, True])
def test_nothing_is_said_of_sound_cases(turned):
    for seed in range(10):
        assert find_strays(shapes(turned=turned, seed=seed), NAMES, PAIRS) == [[]] * 12


@pytest.mark.parametrize("turned", [False, True])
def test_a_slip_of_the_hand_is_told_with_its_distance(turned):
    heads = shapes(turned=turned)
    heads[4][7] += [0, 0, 50]
    found = find_strays(heads, NAMES, PAIRS, unit="px")
    (line,) = found.pop(4)
    assert found == [[]] * 11
    name, _, rest = line.partition(" lies ")
    assert (name, rest.partition(" ")[2]) == ("scar", "px from where the points round it lie in other cases")
    assert float(rest.partition(" ")[0]) == pytest.approx(50, abs=8)


@pytest.mark.parametrize("names", [("left ear", "right ear"), ("front", "scar")])
def test_exchanged_names_are_told(names):
    heads, (one, other) = shapes(turned=True), (NAMES.index(name) for name in names)
    heads[7][[one, other]] = heads[7][[other, one]]
    found = find_strays(heads, NAMES, PAIRS)
    assert found.pop(7) == [f"{names[0]} and {names[1]} look exchanged"]
    assert found == [[]] * 11


def test_a_case_with_all_pairs_exchanged_is_told():
    heads = shapes(turned=True)
    heads[2] = heads[2][[0, 1, 2, 4, 3, 6, 5, 7, 8]]
    found = find_strays(heads, NAMES, PAIRS)
    assert found.pop(2) == ["left and right look exchanged"]
    assert found == [[]] * 11


def test_a_case_in_the_wrong_frame_is_told_where_all_lie_alike():
    heads = shapes()
    heads[9] = heads[9] * [-1, -1, 1]
    (line,) = find_strays(heads, NAMES, PAIRS)[9]
    assert line.startswith("lies turned by 1")
    assert line.endswith("degrees against the others; is its frame right (LPS for RAS)?")
    turned = shapes(turned=True)
    turned[9] = turned[9] * [-1, -1, 1]  # one pose among all others
    assert find_strays(turned, NAMES, PAIRS) == [[]] * 12


def test_several_points_that_are_off_are_told_together():
    heads = shapes(30)
    heads[0][[3, 5]] += [0, 70, 0]
    (line,) = find_strays(heads, NAMES, [])[0]
    assert line.startswith("left ear, left jaw lie up to ")


def test_films_are_compared_within_their_planes():
    generator = np.random.default_rng(3)
    films = [HEAD[:, :2] * 10 + generator.normal(0, 9, (9, 2)) for _ in range(8)]
    films[5] = films[5] * [-1, 1]  # seen from behind
    assert find_strays(films, NAMES, PAIRS)[5] == ["left and right look exchanged"]


def test_missing_points_and_cases_that_share_none_are_left_out():
    heads = shapes(14)
    for head in heads[:7]:
        head[5:] = np.nan
    for head in heads[7:]:
        head[:4] = np.nan
    assert find_strays(heads, NAMES, PAIRS) == [[]] * 14
    heads[3][1] += [0, 0, 60]
    heads[9][:] = np.nan
    found = find_strays(heads, NAMES, PAIRS)
    assert [bool(lines) for lines in found].count(True) <= 1
    assert find_strays(heads[:4], NAMES, PAIRS) == [[]] * 4
    assert find_strays([], NAMES, PAIRS) == []
