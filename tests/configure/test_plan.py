"""Every number of a bundle, chosen from the data."""

import json

import numpy as np
import pytest

from lmk3d.configure import LevelPlan, plan_for
from lmk3d.configure.files import bundle_files
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume, apply_affine, random_rotation
from lmk3d.io import check_dataset, read_dataset, write_image, write_points
from lmk3d.landmarks import Landmarks
from lmk3d.synthetic import SKULL_LANDMARKS, film_phantom

SHAPE_MM = np.array([[-30.0, 0, -10], [30.0, 5, -10], [0, 25.0, 20], [5.0, -20, 25], [0, 0, 0]])
NAMES = ("left", "right", "front", "back", "middle")


def data_set(
    folder,
    *,
    shape=(28, 24, 20),
    spacing_mm=(4.0, 4.0, 5.0),
    angle=0.1,
    count=4,
    scale=1.0,
    unit_hu=True,
    missing=(),
    step_mm=(0.0, 0.0, 0.0),
):
    """Volumes with noise and known points; the JSON of them."""
    generator = np.random.default_rng(0)
    cases = []
    for number in range(count + 1):
        pose = np.eye(4)
        pose[:3, :3] = scale * random_rotation(generator, angle)
        points = apply_affine(pose, SHAPE_MM)
        points[[row for row in missing if number == 0]] = np.nan
        grid = Grid.around(number * np.array(step_mm), shape, spacing_mm)
        level = 1 if unit_hu else 10.0**number
        data = level * generator.normal(100, 30, size=shape)
        data[0] = -1000 if unit_hu else 0  # air
        write_image(Volume(data.astype(np.float32), grid), folder / f"{number}.nii")
        write_points(Landmarks(NAMES, points), folder / f"{number}.csv")
        cases.append({"image": f"{number}.nii", "points": f"{number}.csv"})
    content = {"landmarks": NAMES, "pairs": [["left", "right"]], "one_sided": ["front"], "description": "made up"}
    path = folder / "bones.json"
    path.write_text(json.dumps({**content, "training": cases[:count], "validation": cases[count:]}), encoding="utf-8")
    return path


def planned(path):
    return plan_for(read_dataset(path), path, check_dataset(path).fingerprint)


def test_numbers_follow_from_the_fingerprint(tmp_path):
    path = data_set(tmp_path)
    plan = planned(path)
    # 112 x 96 x 100 mm: the longest side would be 77 voxels of 1.5 mm, but the images' own are 4 mm.
    assert plan.spacing_mm == 4.0
    assert plan.sides == (32, 32, 32)  # 28, 24 and 25 voxels in blocks of 32
    assert plan.levels == (LevelPlan(5.68, 24, 8.0, passes=2),)
    assert plan.tolerance_mm == 8.0
    assert plan.shift_mm == (22.4, 19.2, 20.0)  # a fifth of each side
    assert (plan.zoom, plan.reflect, plan.cut, plan.usual, plan.windowed, plan.scanners) == (
        0.35,
        0.3,
        0.35,
        0.5,
        True,
        "ct",
    )
    assert (plan.any_pose, plan.max_angle, plan.validate_every, plan.epochs) == (False, 0.2, 10, 1000)
    assert (plan.names, plan.pairs, plan.one_sided) == (NAMES, (("left", "right"),), ("front",))
    assert (plan.name, plan.description, plan.dataset) == ("bones", "made up", str(path.resolve()))
    assert plan.waves_mm == pytest.approx((0.013 * 60, 0.45 * 60), rel=0.05)  # the landmarks reach 60 mm


def test_a_column_of_landmarks_gets_a_level_that_steps_along_it(tmp_path, monkeypatch):
    column = np.array([[0.0, 3 * row % 5, 12 * row - 24] for row in range(len(SHAPE_MM))])
    monkeypatch.setattr(f"{__name__}.SHAPE_MM", column)
    plan = planned(data_set(tmp_path, angle=0.02))
    first, last = plan.levels
    assert (first.steps, last.steps, first.size) == (True, False, 24)
    assert 12.5 < 12 * first.spacing_mm < 25  # the longest step, of 13 mm or less, and what it varies by
    assert plan.patch_sigmas == [1.0, None]
    config = bundle_files(plan)
    assert config["train.json"]["network_def"]["refiners"][0]["num_landmarks"] == 2 * len(SHAPE_MM)
    cut = [one for one in config["train.json"]["train"]["augment"] if one["_target_"].endswith("RandPatchesd")]
    assert [one.get("tree") for one in cut] == ["@tree", None]
    assert config["inference.json"]["network_def"]["steps"] is True
    assert config["paper.json"]["objective#patch_sigma_vox"] is None


def test_fine_images_get_a_level_between(tmp_path):
    plan = planned(data_set(tmp_path, shape=(120, 100, 20), spacing_mm=(1.0, 1.0, 5.0), count=2))
    assert plan.spacing_mm == pytest.approx(1.559)  # 120 mm in 77 voxels
    assert [level.spacing_mm for level in plan.levels] == [1.42]
    finer = planned(data_set(tmp_path, shape=(240, 100, 20), spacing_mm=(0.5, 1.0, 5.0), count=2))
    assert [level.spacing_mm for level in finer.levels] == [1.559, 0.71]
    assert finer.levels[0].offset_mm == pytest.approx(2 * 1.559)


def test_patients_at_any_angle_get_a_search_of_the_pose(tmp_path):
    plan = planned(data_set(tmp_path, angle=np.pi))
    assert plan.any_pose
    assert plan.max_angle == 1.13
    assert plan.sides == (32, 32, 32)
    assert plan.shift_mm == (8.96, 8.96, 8.96)
    assert len(plan.levels) == 1
    assert plan.validate_every == 25
    assert (plan.zoom, plan.reflect, plan.cut, plan.windowed, plan.scanners) == (0.1, 0.0, 0.0, False, "")


def test_intensities_that_differ_between_images_are_read_as_percentiles(tmp_path):
    ct, mr = planned(data_set(tmp_path)), None
    (tmp_path / "mr").mkdir()
    mr = planned(data_set(tmp_path / "mr", unit_hu=False))
    assert not ct.percentiles
    assert ct.low < 100 < ct.high
    assert (mr.low, mr.high, mr.percentiles) == (0.5, 99.5, True)
    assert (ct.scanners, mr.scanners) == ("ct", "any")


def test_one_landmark_and_missing_points_are_enough(tmp_path):
    path = data_set(tmp_path, missing=(0, 1, 2, 3, 4))
    content = json.loads(path.read_text(encoding="utf-8"))
    content |= {"landmarks": ["left"], "pairs": [], "one_sided": []}
    path.write_text(json.dumps(content), encoding="utf-8")
    plan = planned(path)
    assert plan.names == ("left",)
    assert plan.waves_mm == pytest.approx(
        (0.013 * 22.4, 0.45 * 22.4)
    )  # a fifth of the image, as one point reaches nowhere
    assert not plan.any_pose


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"training": 1}, "bones.json: training needs at least 2 cases with points, got 1; add some"),
        ({"validation": 0}, "bones.json: validation needs at least 1 case with points, got 0; add some"),
    ],
)
def test_too_few_cases_are_refused(tmp_path, changes, text):
    path = data_set(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    for section, count in changes.items():
        content[section] = content[section][:count]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=text):
        planned(path)


def film_set(folder, sides_px, *, unit="px"):
    """Pictures of lateral skulls with these longest sides, the last one for validation; the JSON of them."""
    image = pytest.importorskip("PIL.Image")
    cases = []
    for number, side in enumerate(sides_px):
        film = film_phantom(number, side_px=side, unit=unit)
        image.fromarray(film.volume.data[:, :, 0]).save(folder / f"{number}.png")
        write_points(film.landmarks, folder / f"{number}.csv")
        case = {"image": f"{number}.png", "points": f"{number}.csv"}
        cases.append(case if unit == "px" else {**case, "spacing_mm": 240 / side})
    content = {"landmarks": SKULL_LANDMARKS, "training": cases[:-1], "validation": cases[-1:]}
    (folder / "films.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "films.json"


def test_the_numbers_of_films_follow_from_their_longest_side(tmp_path):
    plan = planned(film_set(tmp_path, (400, 600, 500), unit="mm"))
    assert (plan.flat, plan.unit, plan.side_px, plan.any_pose) == (True, "mm", None, False)
    assert plan.spacing_mm == 0.8  # 240 mm in 300 pixels
    assert plan.sides == (320, 256, 1)  # 300 x 243 in blocks of 32
    (level,) = plan.levels
    assert (level.spacing_mm, level.size, level.offset_mm) == (0.48, 64, 3.6)
    assert (plan.low, plan.high, plan.percentiles) == (0.5, 99.5, True)
    assert (plan.shift_mm, plan.miss_mm, plan.tolerance_mm) == (19.2, 24.0, 1.6)


def test_films_without_a_spacing_are_planned_in_pixels(tmp_path):
    plan = planned(film_set(tmp_path, (480, 480, 480)))
    assert (plan.unit, plan.side_px, plan.spacing_mm) == ("px", None, 1.6)
    coarse = planned(film_set(tmp_path, (120, 120, 120)))
    assert (coarse.spacing_mm, coarse.levels[0].spacing_mm) == (1.0, 1.0)  # none looks closer than the pixels


def test_films_scanned_at_several_sizes_are_brought_to_one(tmp_path):
    plan = planned(film_set(tmp_path, (120, 240, 480, 300)))
    assert plan.side_px == 270  # the median of all
    assert plan.sides == (288, 224, 1)


def test_films_beside_volumes_are_refused(tmp_path):
    pytest.importorskip("PIL")
    path = film_set(tmp_path, (64, 64, 64), unit="mm")
    write_image(
        Volume(np.random.default_rng(0).normal(size=(64, 52, 3)), Grid((64, 52, 3), np.eye(4))), tmp_path / "v.nii"
    )
    content = json.loads(path.read_text(encoding="utf-8"))
    content["training"].append({"image": "v.nii", "points": "0.csv"})
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"films.json: 3 of 4 images are films \(one slice\); part them from the volumes"
    ):
        planned(path)
