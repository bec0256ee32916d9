"""Cases brought into memory."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.io import write_image, write_points
from lmk3d.landmarks import Landmarks
from lmk3d.transforms import BlockMeansd, LoadCased
from lmk3d.transforms.loading import points_of
from lmk3d.transforms.sampling import block_means

GRID = Grid((6, 5, 4), np.array([[0, -2.0, 0, 7], [1.5, 0, 0, 8], [0, 0, 1, 9], [0, 0, 0, 1]]))


@pytest.fixture
def case(tmp_path):
    data = np.arange(120, dtype=np.int16).reshape(6, 5, 4)
    write_image(Volume(data, GRID), tmp_path / "scan.nii.gz")
    write_points(Landmarks(("b", "c"), [[4.0, 5, 6], [7, 8, 9]]), tmp_path / "scan.csv")
    return {"image": str(tmp_path / "scan.nii.gz"), "label": str(tmp_path / "scan.csv")}


def test_a_case_keeps_its_stored_type_and_affine(case):
    out = LoadCased(["a", "b"])(case)
    assert out["image"].shape == (1, 6, 5, 4)
    assert out["image"].dtype == torch.int16
    assert_array_equal(out["image"][0].numpy(), np.arange(120).reshape(6, 5, 4))
    assert_allclose(Grid.of(out["image"]).affine, GRID.affine, atol=1e-6)
    assert_array_equal(out["label"], [[np.nan] * 3, [4, 5, 6]])  # by name, in the order asked for
    assert out["label"].dtype == np.float64


def test_a_film_gets_the_spacing_of_its_case(tmp_path, case):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5)).save(tmp_path / "film.png")
    out = LoadCased(["b"])({**case, "image": str(tmp_path / "film.png"), "spacing_mm": 0.25})
    assert_allclose(Grid.of(out["image"]).spacing_mm[:2], 0.25)


def test_pixels_of_a_radiograph_are_found_in_its_image(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5)).save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text("name,column,row\nb,3,2\n", encoding="utf-8")
    case = {"image": str(tmp_path / "a.png"), "label": str(tmp_path / "a.csv"), "spacing_mm": 0.5}
    loaded = LoadCased(["b"])(case)
    assert_allclose(Grid.of(loaded["image"]).to_vox(loaded["label"]), [[2, 3, 0]], atol=1e-6)  # row 2, column 3
    assert_array_equal(points_of(case).points_mm, loaded["label"])


def test_a_mapping_is_a_phantom_made_on_the_spot():
    from lmk3d.synthetic import CARDIAC_LANDMARKS, cta_phantom

    arguments = {"seed": 3, "region": "heart", "shape": (24, 24, 24), "spacing_mm": 6.0}
    out = LoadCased(CARDIAC_LANDMARKS)({"image": arguments, "label": ""})
    phantom = cta_phantom(**arguments)
    assert_array_equal(out["image"][0].numpy(), phantom.volume.data)
    assert_array_equal(out["label"], phantom.landmarks.ordered(CARDIAC_LANDMARKS).points_mm)


def test_a_missing_file_is_named(case, tmp_path):
    with pytest.raises(InputError, match=r"nowhere.nii.gz: no such file"):
        LoadCased(["a"])({**case, "image": str(tmp_path / "nowhere.nii.gz")})


def test_block_means_lie_where_their_voxels_lay(make_sample):
    grid = Grid.around([1, 2, 3], (9, 8, 7), (0.5, 1.0, 2.0))
    sample = make_sample(grid, torch.rand(grid.shape), [[0.0, 0, 0]])
    out = BlockMeansd("image", 2.0, output="means")(sample)
    expected = grid.coarsened((4, 2, 1))
    assert_allclose(Grid.of(out["means"]).affine, expected.affine)
    assert_array_equal(out["means"][0].numpy(), block_means(sample["image"].as_tensor()[0], (4, 2, 1)).numpy())
    assert out["means"].shape == (1, *expected.shape)
    assert out["image"] is sample["image"]


def test_several_instances_of_a_name_are_kept(tmp_path, case):
    write_points(Landmarks(("b", "b", "c"), [[4.0, 5, 6], [5, 5, 5], [7, 8, 9]]), tmp_path / "scan.csv")
    out = LoadCased(["a", "b", "c"], instances=2)(case)
    gone = [np.nan] * 3
    assert_array_equal(out["label"], [[gone, gone], [[4, 5, 6], [5, 5, 5]], [[7, 8, 9], gone]])


def test_a_mapping_with_a_kind_is_a_film_made_on_the_spot():
    from lmk3d.synthetic import SKULL_LANDMARKS, film_phantom

    arguments = {"seed": 3, "kind": "skull", "side_px": 48}
    out = LoadCased(SKULL_LANDMARKS)({"image": arguments, "label": ""})
    phantom = film_phantom(**arguments)
    assert_array_equal(out["image"][0].numpy(), phantom.volume.data)
    assert_array_equal(out["label"], phantom.landmarks.points_mm)


def test_films_without_a_spacing_are_brought_to_one_size():
    arguments = {"seed": 3, "kind": "skull", "side_px": 48, "unit": "px"}
    plain, sized = (LoadCased(["sella"], side_px=side)({"image": arguments, "label": ""}) for side in (None, 240.0))
    assert_allclose(Grid.of(sized["image"]).affine, np.diag([5, 5, 5, 1]) @ Grid.of(plain["image"]).affine)
    assert_allclose(sized["label"], 5 * plain["label"])


def test_points_of_a_case_need_no_image(case):
    arguments = {"seed": 1, "kind": "mediastinum", "side_px": 64}
    drawn = LoadCased(["tracheal_bifurcation"])({"image": arguments, "label": ""})
    assert_allclose(points_of({"image": arguments})["tracheal_bifurcation"], drawn["label"])
    assert points_of({"image": "nowhere", "label": case["label"]}).names == ("b", "c")
