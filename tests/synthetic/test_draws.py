import numpy as np
import pytest

from lmk3d.synthetic.draws import Draws, rotation


def test_a_seed_gives_the_same_numbers_for_ever():
    # PCG64's stream of SeedSequence((7, 0)), which NumPy promises to keep.
    expected = np.random.PCG64(np.random.SeedSequence((7, 0))).random_raw(2)
    assert Draws(7, stream=0).words(2).tolist() == expected.tolist()
    assert Draws(7, stream=0).uniform() == (int(expected[0]) >> 11) / 2**53


def test_streams_of_one_seed_are_independent():
    drawn = np.stack([Draws(7, stream=stream).uniform(shape=(2000,)) for stream in range(3)])
    assert np.abs(np.corrcoef(drawn) - np.eye(3)).max() < 0.08


def test_uniform_numbers_stay_between_their_bounds():
    drawn = Draws(1, stream=0).uniform([0.0, 10.0], [1.0, 12.0], (1000, 2))
    assert (drawn >= [0, 10]).all()
    assert (drawn < [1, 12]).all()
    np.testing.assert_allclose(drawn.mean(0), [0.5, 11.0], atol=0.06)


def test_noise_has_mean_zero_and_deviation_one():
    noise = Draws(3, stream=0).noise((20, 60, 60))
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(0.0, abs=0.02)
    assert noise.std() == pytest.approx(1.0, abs=0.02)


def test_neighbours_in_a_plane_share_half_their_noise_and_planes_none():
    noise = Draws(3, stream=0).noise((40, 60, 60))
    assert (noise[:, 1:] * noise[:, :-1]).mean() == pytest.approx(0.5, abs=0.03)
    assert (noise[:, :, 1:] * noise[:, :, :-1]).mean() == pytest.approx(0.5, abs=0.03)
    assert (noise[1:] * noise[:-1]).mean() == pytest.approx(0.0, abs=0.03)


def test_noise_does_not_depend_on_how_thick_its_slabs_are():
    whole, parts = Draws(5, stream=0).noise((6, 7, 8)), Draws(5, stream=0)
    np.testing.assert_array_equal(whole, np.concatenate([parts.noise((2, 7, 8)), parts.noise((4, 7, 8))]))


def test_a_line_of_voxels_has_noise_of_deviation_one():
    assert Draws(5, stream=0).noise((1, 1, 20000)).std() == pytest.approx(1.0, abs=0.03)


def test_a_quarter_turn_about_z_brings_x_to_y():
    np.testing.assert_allclose(rotation(0, 0, 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_rotations_turn_about_x_first():
    np.testing.assert_allclose(rotation(90, 0, 90) @ [0, 1, 0], [0, 0, 1], atol=1e-12)


def test_an_order_holds_each_index_once():
    assert sorted(Draws(2, stream=0).order(5)) == [0, 1, 2, 3, 4]


def test_a_spread_widens_every_half_range():
    usual, wide = Draws(4, stream=0), Draws(4, stream=0, spread=1.5)
    for draw in (lambda draws: draws.near(2.0, 0.4) - 2.0, lambda draws: draws.jitter(3.0)):
        np.testing.assert_allclose(draw(wide), 1.5 * np.asarray(draw(usual)), atol=1e-12)
