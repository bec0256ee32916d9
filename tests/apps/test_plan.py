"""Plans of measurements: what they give by hand, and what is no plan."""

import json
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lmk3d.apps.plan import Scene, read_plan
from lmk3d.errors import InputError

# A right-angled corner with sides 30, 40 and a top 12 above the first point.
PLACES = {
    "a": np.array([[0.0, 0, 0]]),
    "b": np.array([[30.0, 0, 0]]),
    "c": np.array([[0.0, 40, 0]]),
    "top": np.array([[0.0, 0, 12]]),
}
PLAN = {
    "name": "corner",
    "points": {"middle": {"mean": ["b", "c"]}, "below": {"foot": "top", "on": "floor"}},
    "lines": {"long": ["b", "c"]},
    "planes": {
        "floor": {"through": ["a", "b", "c"], "towards": "top"},
        "wall": {"through": ["a"], "normal": ["a", "b"]},
    },
    "measures": {
        "hypotenuse": {"distance": ["b", "c"]},
        "to_line": {"distance": ["a", "long"]},
        "to_pair": {"distance": ["a", ["b", "c"]]},
        "to_plane": {"distance": ["top", "floor"]},
        "height": {"height": ["top", "floor"]},
        "corner": {"angle": ["b", "a", "c"]},
        "between": {"angle": [["a", "b"], ["c", "a"]]},
        "rise": {"angle": [["b", "top"], "floor"]},
        "rise_too": {"angle": ["floor", ["b", "top"]]},
        "planes": {"angle": ["floor", "wall"]},
        "signed": {"angle": ["b", "a", "c"], "in": "floor"},
        "against": {"angle": ["c", "a", "b"], "in": "floor"},
        "share": {"ratio": ["height", "hypotenuse"]},
        "median": {"distance": ["middle", "a"]},
        "foot": {"distance": ["below", "a"]},
    },
}
BY_HAND = {
    "hypotenuse": 50,
    "to_line": 24,  # 30 * 40 / 50
    "to_pair": 24,
    "to_plane": 12,
    "height": 12,
    "corner": 90,
    "between": 90,
    "rise": np.degrees(np.arctan2(12, 30)),
    "rise_too": np.degrees(np.arctan2(12, 30)),
    "planes": 90,
    "signed": 90,
    "against": -90,
    "share": 0.24,
    "median": 25,  # half the hypotenuse
    "foot": 0,
}


@pytest.fixture
def plan_of(tmp_path):
    """A plan read from its file."""

    def read(content):
        (tmp_path / "plan.json").write_text(json.dumps(content), encoding="utf-8")
        return read_plan(tmp_path / "plan.json")

    return read


@pytest.mark.parametrize("name", BY_HAND)
def test_measures_by_hand(plan_of, name):
    assert_allclose(Scene(plan_of(PLAN), PLACES).measure(name), [BY_HAND[name]], atol=1e-9)


def test_a_plane_looks_the_way_it_is_told(plan_of):
    plan = plan_of({**PLAN, "planes": {**PLAN["planes"], "floor": {"through": ["a", "c", "b"]}}})
    assert_allclose(Scene(plan, PLACES).measure("height"), [-12])  # c before b: seen from below they run round


def test_many_draws_are_measured_at_once(plan_of):
    generator = np.random.default_rng(0)
    drawn = {name: place + generator.normal(size=(20, 3)) for name, place in PLACES.items()}
    scene = Scene(plan := plan_of(PLAN), drawn)
    for name in BY_HAND:
        alone = [Scene(plan, {key: place[[row]] for key, place in drawn.items()}).measure(name)[0] for row in range(20)]
        assert_allclose(scene.measure(name), alone, atol=1e-9)


def test_a_measure_knows_its_landmarks(plan_of):
    plan = plan_of(PLAN)
    assert plan.needs("hypotenuse") == ("b", "c")
    assert set(plan.needs("share")) == {"top", "a", "b", "c"}
    assert set(plan.needs("foot")) == {"top", "a", "b", "c"}
    assert set(plan.landmarks) == set(PLACES)


def test_lines_are_drawn_where_they_are_measured(plan_of):
    scene = Scene(plan_of(PLAN), PLACES)
    ((start, end),) = scene.segments("to_line")
    assert_allclose(start, [0, 0, 0])
    assert_allclose(end, [19.2, 14.4, 0])  # 24 along the unit normal (0.8, 0.6)
    assert len(scene.segments("corner")) == 2
    assert scene.segments("share") == ()
    assert scene.segments("planes") == ()


@pytest.mark.parametrize(
    ("places", "measure", "text"),
    [
        ({"c": [[60.0, 0, 0]]}, "height", "the points of plane 'floor' lie on a line (a, b, c)"),
        ({"c": [[30.0, 0, 0]]}, "to_line", "'b' and 'c' lie in one place and give no direction"),
        ({"c": [[30.0, 0, 0]]}, "share", "lie on a line"),
        ({"b": [[0.0, 0, 0]]}, "corner", "'a' and 'b' lie in one place"),
    ],
)
def test_points_that_leave_a_measure_open_are_refused(plan_of, places, measure, text):
    scene = Scene(plan_of(PLAN), {**PLACES, **{name: np.array(place) for name, place in places.items()}})
    with pytest.raises(InputError, match=re.escape(text)):
        scene.measure(measure)


def test_a_ratio_of_nothing_is_refused(plan_of):
    measures = {"d": {"distance": ["a", "b"]}, "e": {"distance": ["c", "top"]}, "r": {"ratio": ["d", "e"]}}
    scene = Scene(plan_of({"measures": measures}), {**PLACES, "top": PLACES["c"]})
    with pytest.raises(InputError, match="ratio 'r' divides by 'e', which is zero"):
        scene.measure("r")


ONE = {"m": {"distance": ["a", "b"]}}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([], "is no plan; write"),
        ({"measures": {}}, "is no plan; write"),
        ({"measures": ONE, "measuress": {}}, "key 'measuress' is unknown; did you mean 'measures'?"),
        ({"measures": ONE, "unit": "cm"}, "unit 'cm' is unknown; write mm or px"),
        ({"measures": ONE, "lines": []}, "lines is []; write an entry for each name"),
        ({"measures": {"m": {"distanze": ["a", "b"]}}}, "measure 'm': key 'distanze' is unknown"),
        ({"measures": {"m": {"distance": ["a"]}}}, "a measure is between two things"),
        ({"measures": {"m": {"distance": ["a", "a"]}}}, "a distance is between two different things"),
        ({"measures": {"m": {"distance": ["a", {}]}}}, "{} is no point's name"),
        ({"measures": {"m": {"distance": "ab"}}}, "with a list of what it is between"),
        ({"measures": {"m": {"angle": ["a", "b", "a"]}}}, "an angle at a point is between three different ones"),
        ({"measures": {"m": {"angle": ["a", "b"]}}}, "measure 'm': 'a' is not in the plan; add it to the plan"),
        ({"measures": {"m": {"height": ["a", "florr"]}}, "planes": {"floor": {"through": ["a", "b", "c"]}}},
         "'florr' is not in the plan; did you mean 'floor'?"),
        ({"measures": {"m": {"angle": ["a", "b", "c"], "in": ["x"]}}}, "['x'] is not in the plan"),
        ({"measures": {**ONE, "r": {"ratio": ["m", "n"]}}}, "measure 'r': 'n' is not in the plan; add it to the plan"),
        ({"measures": {**ONE, "r": {"ratio": ["m", "r"]}}}, "'r' is made of itself"),
        ({"measures": ONE, "points": {"a": {"mean": ["b", "a"]}}}, "'a' is made of itself"),
        ({"measures": ONE, "points": {"p": {"middle": ["a"]}}}, "point 'p': key 'middle' is unknown"),
        ({"measures": ONE, "points": {"p": {"foot": "a"}}}, "point 'p': cannot be made; write"),
        ({"measures": ONE, "points": {"m": {"mean": ["a"]}}}, "'m' stands for two things"),
        ({"measures": ONE, "lines": {"l": ["a", "b", "c"]}}, "line 'l': cannot be made; a line is its two points"),
        ({"measures": ONE, "planes": {"p": {"through": ["a", "b"]}}}, "plane 'p': cannot be made; write"),
        ({"measures": ONE, "planes": {"p": {"through": ["a", "b"], "normal": ["a", "b"]}}}, "plane 'p': cannot"),
        ({"measures": ONE, "planes": {"p": 3}}, "it is 3, not an entry in braces"),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_named(plan_of, content, text):
    with pytest.raises(InputError, match=re.escape(text)):
        plan_of(content)
