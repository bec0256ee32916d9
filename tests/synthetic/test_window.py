import numpy as np

from lmk3d.synthetic.draws import rotation
from lmk3d.synthetic.window import Window, ramp


def box_of(side):
    """A cube of half-millimetre voxels at any angle."""
    start = np.zeros(3, dtype=np.int64)
    return Window(np.array([4.0, -2, 1]), rotation(20, -35, 50), np.array([0.5, 0.6, 0.7]), start, start + side)


def test_ramp_is_one_half_at_the_surface_and_ends_half_an_edge_away():
    share = ramp(np.array([-2.0, -1.0, 0.0, 1.0, 2.0], dtype=np.float32), 2.0)
    np.testing.assert_allclose(share, [1, 1, 0.5, 0, 0])


def test_window_measures_from_any_point_in_any_direction():
    box, point, direction = box_of(4), np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.6, 0.8])
    index = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1)
    places = box.origin_mm + (index * box.spacing_mm) @ box.axes.T
    np.testing.assert_allclose(box.linear(point, direction), (places - point) @ direction, atol=1e-5)
    np.testing.assert_allclose(box.square(point), ((places - point) ** 2).sum(-1), rtol=1e-5)


def test_a_part_measures_the_same_places():
    box = box_of(6)
    part = box.part(np.array([1, 2, 3]), np.array([4, 5, 6]))
    point = np.array([1.0, 1, 1])
    np.testing.assert_array_equal(part.square(point), box.square(point)[1:4, 2:5, 3:6])
    np.testing.assert_allclose(part.linear(point, point), box.linear(point, point)[1:4, 2:5, 3:6], atol=1e-5)


def test_a_box_of_voxels_holds_those_between_its_bounds():
    box = Window(np.zeros(3), np.eye(3), np.full(3, 2.0), np.zeros(3, dtype=np.int64), np.full(3, 10, dtype=np.int64))
    start, stop = box.boxes(np.array([3.0, -5.0, 30.0]), np.array([8.0, 4.0, 40.0]))
    assert start.tolist() == [2, 0, 15]
    assert stop.tolist() == [5, 3, 15]  # voxels 2 to 4 (4 to 8 mm), 0 to 2, none


def test_centre_and_radius_reach_the_corner_voxels():
    box = box_of(5)
    corner = box.origin_mm + box.axes @ (4 * box.spacing_mm)
    assert np.linalg.norm(corner - box.centre_mm) - box.radius_mm < 1e-9
    np.testing.assert_allclose(box.centre_mm, (corner + box.origin_mm) / 2)
