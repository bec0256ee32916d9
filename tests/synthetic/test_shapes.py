import numpy as np
import pytest

from lmk3d.synthetic.draws import rotation
from lmk3d.synthetic.shapes import Column, Ellipsoid, Tube, Wall, curve
from lmk3d.synthetic.window import Window

TURN = rotation(20, -35, 50)


def window(side=60, spacing=0.5, axes=TURN):
    """A cube of voxels about the origin."""
    spacing_mm = np.full(3, spacing)
    origin = -axes @ (spacing_mm * (side - 1) / 2)
    return Window(origin, axes, spacing_mm, np.zeros(3, dtype=np.int64), np.full(3, side, dtype=np.int64))


def volume_mm3(shape, edge_mm=0.8, **where):
    box = window(**where)
    return float(shape.cover(box, edge_mm).sum(dtype=np.float64) * box.spacing_mm.prod())


def test_an_ellipsoid_covers_its_volume():
    ball = Ellipsoid(0.0, np.array([0.3, -0.2, 0.1]), rotation(10, 20, 30), np.array([5.0, 7.0, 9.0]))
    assert volume_mm3(ball) == pytest.approx(4 / 3 * np.pi * 5 * 7 * 9, rel=0.01)


def test_a_shell_covers_its_surface_times_its_thickness():
    shell = Ellipsoid(0.0, np.zeros(3), np.eye(3), np.full(3, 10.0), shell_mm=1.2)
    assert volume_mm3(shell) == pytest.approx(4 * np.pi * 100 * 1.2, rel=0.01)


def test_a_plane_through_the_centre_leaves_half_a_ball():
    half = Ellipsoid(0.0, np.zeros(3), np.eye(3), np.full(3, 8.0), cuts=((np.zeros(3), np.array([0.0, 0.6, 0.8])),))
    assert volume_mm3(half) == pytest.approx(2 / 3 * np.pi * 8**3, rel=0.01)


def test_an_egg_is_narrower_at_the_far_end_of_its_third_axis():
    egg = Ellipsoid(0.0, np.zeros(3), np.eye(3), np.full(3, 10.0), egg=0.3)
    share = egg.cover(window(axes=np.eye(3)), 0.8)
    assert share[..., 40:].sum() < 0.8 * share[..., :20].sum()


def test_a_tube_covers_a_cylinder_with_round_ends():
    tube = Tube(0.0, np.array([[-5.0, 0, 0], [0, 0, 0], [5, 0, 0]]), np.full(3, 3.0))
    assert volume_mm3(tube) == pytest.approx(np.pi * 9 * 10 + 4 / 3 * np.pi * 27, rel=0.01)


@pytest.mark.parametrize("radius", [0.15, 0.3, 0.6, 0.7, 1.5])
def test_a_tube_keeps_its_mass_however_thin(radius):
    points = np.array([[-10.0, 1, 2], [10, -1, 0]])
    tube = Tube(0.0, points, np.full(2, radius))
    length = float(np.linalg.norm(points[1] - points[0]))
    assert volume_mm3(tube, edge_mm=1.3, side=80) == pytest.approx(
        np.pi * radius**2 * (length + 4 / 3 * radius), rel=0.05
    )


def test_a_column_covers_an_elliptic_cylinder():
    column = Column(0.0, np.array([0.2, 0.1, 0.0]), rotation(30, 0, 10), np.array([8.0, 5.0, 4.0]))
    assert volume_mm3(column) == pytest.approx(np.pi * 8 * 5 * 8, rel=0.01)


def test_a_wall_covers_what_lies_outside_its_ellipses():
    wall = Wall(0.0, np.zeros(3), np.eye(3), np.array([-50.0, 50.0]), np.array([[9.0, 6.0, 2.0], [9.0, 6.0, 2.0]]))
    outside = 30.0**3 - np.pi * 9 * 6 * 30
    assert volume_mm3(wall, axes=np.eye(3), edge_mm=1.5) == pytest.approx(outside, rel=0.02)


@pytest.mark.parametrize(
    "shape",
    [
        Ellipsoid(100.0, np.array([3.0, 2.0, 1.0]), rotation(10, 20, 30), np.array([20.0, 30.0, 40.0])),
        Wall(
            100.0,
            np.zeros(3),
            np.eye(3),
            np.array([-90.0, 0.0, 90]),
            np.array([[20, 30, 2], [40, 30, 0], [20, 30, 5.0]]),
        ),
    ],
)
def test_a_brick_known_to_lie_inside_or_outside_is_one_that_does(shape):
    known = 0
    for step in np.random.default_rng(0).uniform(-60, 60, (200, 3)):
        small = window(side=8, spacing=1.0)
        box = Window(small.origin_mm + step, small.axes, small.spacing_mm, small.start, small.stop)
        depth = shape.depth(box.centre_mm)
        if abs(depth) > box.radius_mm + 0.5:
            known += 1
            np.testing.assert_array_equal(shape.cover(box, 1.0), 1.0 if depth > 0 else 0.0)
    assert known > 50


@pytest.mark.parametrize(
    "shape",
    [
        Tube(0.0, np.array([[-5.0, 0, 1], [0, 3, 0], [5, 0, 0]]), np.array([3.0, 2.0, 1.0])),
        Ellipsoid(0.0, np.array([1.0, 2, 3]), TURN, np.array([4.0, 6, 8]), egg=0.2),
        Column(0.0, np.array([1.0, 2, 3]), TURN, np.array([4.0, 6, 5])),
        Wall(0.0, np.zeros(3), np.eye(3), np.array([-50.0, 50.0]), np.array([[9.0, 6.0, 2.0], [8.0, 6.0, 2.0]])),
    ],
)
def test_a_shape_moved_with_its_window_looks_the_same(shape):
    turn, shift, box = rotation(40, 10, -70), np.array([5.0, -3, 8]), window(side=40)
    with_it = Window(turn @ box.origin_mm + shift, turn @ box.axes, box.spacing_mm, box.start, box.stop)
    np.testing.assert_allclose(shape.moved(turn, shift).cover(with_it, 1.0), shape.cover(box, 1.0), atol=1e-4)


@pytest.mark.parametrize("egg", [-0.3, 0.0, 0.3])
def test_nothing_of_a_shape_lies_outside_its_span(egg):
    shape = Ellipsoid(0.0, np.array([1.0, 2, 3]), rotation(5, 6, 7), np.array([4.0, 6, 8]), egg=egg)
    box = window(side=80)
    low, high = shape.span(box.axes)
    where = np.argwhere(shape.cover(box, 0.1) > 0.5) * box.spacing_mm + box.origin_mm @ box.axes
    assert (where.min(0) >= low - 0.05).all()
    assert (where.max(0) <= high + 0.05).all()


def test_a_curve_passes_through_its_points():
    points = np.array([[0.0, 0, 0, 1], [10, 5, 0, 2], [20, 0, 5, 3]])
    path = curve(points, 2.0)
    for point in points:
        assert np.abs(path - point).sum(1).min() < 1e-12
    assert np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1).max() < 3.0
