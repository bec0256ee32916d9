import numpy as np

from lmk3d.synthetic.drawn import Pose
from lmk3d.synthetic.draws import Draws


def test_a_pose_turns_sizes_and_moves():
    pose = Pose(np.array([[0.0, -2.0], [2.0, 0.0]]), np.array([10.0, 20.0]))
    np.testing.assert_allclose(pose([(1, 0), (0, 1)]), [[10, 22], [8, 20]])


def test_drawn_poses_stay_within_their_bounds():
    for seed in range(50):
        pose = Pose.drawn(Draws(seed, 0), (100.0, 80.0), move_mm=5.0, turn_deg=10.0, grow=0.09)
        assert np.abs(pose.origin - (100, 80)).max() <= 5
        sizes = np.linalg.norm(pose.matrix, axis=0)
        assert np.abs(sizes - 1).max() <= 0.12
        assert abs(sizes[0] - sizes[1]) <= 0.06
        assert abs(np.degrees(np.arctan2(pose.matrix[1, 0], pose.matrix[0, 0]))) <= 10
