"""Several trainings of one plan as one bundle."""

import json
import shutil

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from lmk3d.calibration import Calibration, write_calibration
from lmk3d.cli import main
from lmk3d.components import build, read_config
from lmk3d.configure import LevelPlan, Plan, write_bundle
from lmk3d.configure.methods import METHODS
from lmk3d.conformal import Radii
from lmk3d.ensemble import join_bundles
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.inference import LandmarkDetector
from lmk3d.zoo import export_bundle

PLAN = Plan("small", "for tests", ("a", "b", "c"), (), 0.0, 1.0, 2.0, (16, 16, 16), (LevelPlan(2.0, 8, 2.0),),
            channels=(4, 8), min_presence=0.0)  # fmt: skip


def untrained(folder, plan, seed):
    """A bundle of the plan with weights of its own."""
    write_bundle(folder, plan)
    (folder / "models").mkdir()
    torch.manual_seed(seed)
    path, config = read_config(folder, "inference.json")
    torch.save(build(config, "network_def", path).state_dict(), folder / "models" / "model.pt")
    return folder


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Three bundles of one plan."""
    return [untrained(tmp_path_factory.mktemp("trained") / f"seed{seed}", PLAN, seed) for seed in range(3)]


@pytest.fixture
def volume():
    data = np.random.default_rng(0).uniform(size=(20, 18, 22)).astype(np.float32)
    return Volume(data, Grid.around([0.0, 0, 0], data.shape, 1.5))


def test_it_says_the_mean_of_its_members(bundles, volume, tmp_path, capsys):
    assert main(["bundle", "join", *map(str, bundles), "--output", str(tmp_path / "joined")]) == 0
    assert "joined 3 bundles" in capsys.readouterr().out
    joined = LandmarkDetector.from_bundle(tmp_path / "joined")
    each = [LandmarkDetector.from_bundle(folder) for folder in bundles]
    image = torch.rand(1, 1, 16, 16, 16)
    with torch.inference_mode():
        maps = torch.stack([one.network(image) for one in each])
        assert maps.std(0).max() > 0.1  # members that agreed would prove nothing
        torch.testing.assert_close(joined.network(image), maps.mean(0), atol=1e-5, rtol=1e-4)
        patches, numbers = torch.rand(3, 1, 8, 8, 8), torch.arange(3)
        moves, log_variance = map(
            torch.stack, zip(*(one.network.refiners[0](patches, numbers) for one in each), strict=True)
        )
        assert moves.std(0).max() > 0.1
        found = joined.network.refiners[0](patches, numbers)
    torch.testing.assert_close(found[0], moves.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1].exp(), log_variance.exp().mean(0), atol=1e-5, rtol=1e-4)
    stages = joined.detect_stages(volume)
    assert list(stages) == ["heatmap", "refined 1"]
    assert joined.notes == each[0].notes != ()  # of bundles that know phantoms alone
    assert np.isfinite(stages["refined 1"].points_mm).all()


@pytest.mark.parametrize("method", list(METHODS))
def test_bundles_of_every_method_can_be_joined(method, tmp_path):
    film = Plan("film", "for tests", ("a", "b", "c"), (), 0.0, 1.0, 2.0, (64, 32, 1), (), channels=(4, 4, 8, 8),
                structures={"one": ["a", "b", "c"]}, percentiles=True, method=method)  # fmt: skip
    two = [untrained(tmp_path / f"seed{seed}", film, seed) for seed in range(2)]
    join_bundles(two, tmp_path / "joined")
    joined, *each = (LandmarkDetector.from_bundle(folder).network for folder in (tmp_path / "joined", *two))
    image = torch.rand(1, 1, 64, 32, 1)
    with torch.inference_mode():
        maps = torch.stack([one(image) for one in each])
        scale = float(maps.abs().max())
        assert maps.std(0).max() > 0.01 * scale
        torch.testing.assert_close(joined(image), maps.mean(0), atol=1e-5 * scale, rtol=1e-4)


def test_joined_bundles_take_shapes_from_the_first_and_the_mean_of_what_each_claims(bundles, tmp_path):
    bundles = [shutil.copytree(folder, tmp_path / folder.name) for folder in bundles]
    for number, folder in enumerate(bundles):
        state = torch.load(folder / "models" / "model.pt", weights_only=True)
        state["error_ratio"] = torch.tensor(1.5 + number, dtype=torch.float64)
        state["mean_shape"] += number
        torch.save(state, folder / "models" / "model.pt")
    join_bundles(bundles, tmp_path / "joined")
    network = LandmarkDetector.from_bundle(tmp_path / "joined").network
    assert float(network.error_ratio) == 2.5
    assert_array_equal(network.mean_shape, LandmarkDetector.from_bundle(bundles[0]).network.mean_shape)


def test_radii_of_folds_are_pooled_over_all_their_patients(bundles, tmp_path, capsys):
    folds = [shutil.copytree(folder, tmp_path / folder.name) for folder in bundles]
    for number, folder in enumerate(folds[:2]):
        radii = Radii(np.arange(15.0).reshape(5, 3) + number, tuple(f"{number} {case}" for case in range(5)))
        write_calibration(Calibration({"training": 9, "validation": 5}, radii=radii), folder / "models" / "model.pt")
    assert main(["bundle", "join", *map(str, folds[:2]), "--output", str(tmp_path / "joined")]) == 0
    assert "radii from 10 validation patients of the single trainings" in capsys.readouterr().out
    calibration = LandmarkDetector.from_bundle(tmp_path / "joined").calibration
    assert calibration.trust is None
    assert len(calibration.radii) == 10
    assert_array_equal(calibration.radii.factors(0.9), [13, 14, 15])
    assert main(["bundle", "join", *map(str, folds), "--output", str(tmp_path / "partly")]) == 0
    assert "radii from" not in capsys.readouterr().out
    assert LandmarkDetector.from_bundle(tmp_path / "partly").calibration is None


def test_an_image_is_padded_to_the_largest_grid_of_the_members(bundles, tmp_path):
    other = shutil.copytree(bundles[1], tmp_path / "other")
    config = read_config(other, "inference.json")[1]
    (other / "inference.json").write_text(json.dumps({**config, "sides": [8, 24, 16]}), encoding="utf-8")
    join_bundles([bundles[0], other], tmp_path / "joined")
    assert_array_equal(LandmarkDetector.from_bundle(tmp_path / "joined").sides, [16, 24, 16])


def test_what_cannot_be_joined_is_told_in_one_line_and_leaves_nothing(bundles, tmp_path):
    target = tmp_path / "joined"
    with pytest.raises(InputError, match="one bundle is no ensemble; name two or more"):
        join_bundles(bundles[:1], target)
    with pytest.raises(InputError, match="joined: a bundle was named twice; name each once"):
        join_bundles([*bundles, bundles[0].parent / "." / bundles[0].name], target)
    other = shutil.copytree(bundles[1], tmp_path / "other")
    config = json.loads((other / "inference.json").read_text(encoding="utf-8"))
    (other / "inference.json").write_text(json.dumps({**config, "spacing_mm": 3.0}), encoding="utf-8")
    with pytest.raises(InputError, match=r"other.*inference.json: its 'spacing_mm' differs from that of .*seed0"):
        join_bundles([bundles[0], other], target)
    for spoilt in (3, {"heatmap": 1, "refiners": []}, {"heatmap": {}, "refiners": 2}, {"heatmap": {}, "refiners": [3]}):
        (other / "inference.json").write_text(json.dumps({**config, "network_def": spoilt}), encoding="utf-8")
        with pytest.raises(InputError, match=r"inference\.json: network_def holds no networks to join"):
            join_bundles([bundles[0], other], target)
    (other / "inference.json").write_text(json.dumps(config), encoding="utf-8")
    (other / "models" / "model.pt").unlink()
    with pytest.raises(InputError, match=r"model.pt: no such file; train the bundle first"):
        join_bundles([bundles[0], other], target)
    with pytest.raises(InputError, match="no such folder; make it first"):
        join_bundles(bundles, tmp_path / "nowhere" / "joined")
    assert not target.exists()
    join_bundles(bundles, target)
    with pytest.raises(InputError, match="exists already; choose another folder"):
        join_bundles(bundles, target)
    with pytest.raises(InputError, match="holds several networks"):
        join_bundles([bundles[0], target], tmp_path / "again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["joined", "other"]


def test_it_exports_as_one_network(bundles, tmp_path):
    join_bundles(bundles[:2], tmp_path / "joined")
    export_bundle(tmp_path / "joined", tmp_path / "zoo", torchscript=True)
    image = torch.rand(1, 1, 16, 16, 16)
    members = [LandmarkDetector.from_bundle(folder).network(image) for folder in bundles[:2]]
    script = torch.jit.load(tmp_path / "zoo" / "models" / "model.ts")
    torch.testing.assert_close(script(image), torch.stack(members).mean(0), atol=1e-5, rtol=1e-4)
    export_bundle(tmp_path / "joined", tmp_path / "onnx", onnx=True)  # it compares what the files say itself
    assert {"model.onnx", "refiner_1.onnx"} <= {path.name for path in (tmp_path / "onnx" / "models").iterdir()}
