import numpy as np
import pytest

from lmk3d.synthetic import (
    CHEST_LANDMARKS,
    MEDIASTINUM_LANDMARKS,
    SKULL_LANDMARKS,
    SPINE_LANDMARKS,
    film_phantom,
)

KINDS = ("skull", "spine", "chest", "mediastinum")
# Drawn once and kept: another NumPy or another machine must find the same pixels.
PINNED = {
    "skull": [137, 197, 162, 73, 193, 3, 85],
    "spine": [159, 125, 165, 207],
    "chest": [8, 185, 92, 107, 95, 96, 217],
    "mediastinum": [169, 164, 135, 117, 119, 137, 197],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_pixels_on_every_platform(kind):
    data = film_phantom(2024, kind=kind, side_px=96).volume.data.astype(int)
    np.testing.assert_allclose(data.ravel()[400::900][:7], PINNED[kind], rtol=0, atol=1)


@pytest.mark.parametrize("kind", KINDS)
def test_neither_pixels_nor_unit_nor_bits_move_the_landmarks(kind):
    plain, fine = film_phantom(5, kind=kind, side_px=128), film_phantom(5, kind=kind, side_px=256, bits=16)
    np.testing.assert_allclose(fine.landmarks.points_mm, plain.landmarks.points_mm, atol=1e-9)
    assert (plain.volume.data.dtype, fine.volume.data.dtype) == (np.uint8, np.uint16)
    assert fine.volume.data.max() > 255
    pixels = film_phantom(5, kind=kind, side_px=128, unit="px")
    assert pixels.volume.unit == pixels.landmarks.unit == "px"
    np.testing.assert_array_equal(pixels.volume.grid.spacing_mm, 1.0)
    there = [one.volume.grid.to_vox(one.landmarks.points_mm) for one in (plain, pixels)]
    np.testing.assert_allclose(*there, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_every_point_lies_on_its_film_and_two_seeds_differ(kind):
    drawn = [film_phantom(seed, kind=kind, side_px=64) for seed in range(12)]
    for one in drawn:
        assert one.volume.grid.contains(one.landmarks.points_mm).all()
        assert max(one.volume.data.shape) == 64
        assert one.volume.data.shape[2] == 1
    last = [one.landmarks.points_mm[-1] for one in drawn]
    assert np.ptp(last, axis=0)[:2].min() > 3


def test_kinds_have_their_own_names():
    names = {kind: film_phantom(3, kind=kind, side_px=32).landmarks.names for kind in KINDS}
    assert names["skull"] == SKULL_LANDMARKS
    assert names["spine"] == SPINE_LANDMARKS
    assert names["chest"] == CHEST_LANDMARKS
    assert set(names["mediastinum"]) <= set(MEDIASTINUM_LANDMARKS)
    assert [len(names[kind]) for kind in KINDS[:3]] == [19, 68, 166]


def test_rows_run_down_and_columns_run_across_as_in_a_picture_that_is_read():
    film = film_phantom(0, side_px=120)
    assert film.volume.data.shape == (120, 97, 1)
    np.testing.assert_allclose(film.volume.grid.to_mm([1, 0, 0]), [0, -2, 0])
    np.testing.assert_allclose(film.volume.grid.to_mm([0, 1, 0]), [-2, 0, 0])
    sella, menton = film.landmarks["sella"][0], film.landmarks["menton"][0]
    assert menton[1] < sella[1] - 80  # the chin below, towards the back of the world
    assert menton[0] < sella[0] - 30  # the face to the right of the film


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"kind": "hand"}, "kind must be one of skull, spine, chest, mediastinum, got 'hand'"),
        ({"side_px": 8}, "side_px must be a whole number from 32 to 4096, got 8"),
        ({"unit": "cm"}, "unit must be 'mm' or 'px', got 'cm'"),
        ({"bits": 12}, "bits must be 8 or 16, got 12"),
        ({"scoliosis_deg": (0, 0, 0)}, "scoliosis_deg is for a spine, not for 'skull'; leave it out"),
        ({"kind": "spine", "spinous": 2}, "spinous is for a mediastinum, not for 'spine'; leave it out"),
    ],
)
def test_arguments_out_of_range_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        film_phantom(**{"seed": 1, **options})
