"""Several trainings of one plan as one bundle."""

import json
import shutil

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from lmk3d.cli import main
from lmk3d.components import build, read_config
from lmk3d.configure import LevelPlan, Plan, write_bundle
from lmk3d.ensemble import Ensemble, join_bundles
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.inference import LandmarkDetector
from lmk3d.networks import Committee
from lmk3d.zoo import export_bundle

PLAN = Plan("small", "for tests", ("a", "b", "c"), (), 0.0, 1.0, 2.0, (16, 16, 16), (LevelPlan(2.0, 8, 2.0),),
            channels=(4, 8), min_presence=0.0)  # fmt: skip


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Three bundles of one plan with weights of their own, not trained."""
    folders = []
    for seed in range(3):
        folder = tmp_path_factory.mktemp("trained") / f"seed{seed}"
        write_bundle(folder, PLAN)
        (folder / "models").mkdir()
        torch.manual_seed(seed)
        path, config = read_config(folder, "inference.json")
        torch.save(build(config, "network_def", path).state_dict(), folder / "models" / "model.pt")
        folders.append(folder)
    return folders


@pytest.fixture
def volume():
    data = np.random.default_rng(0).uniform(size=(20, 18, 22)).astype(np.float32)
    return Volume(data, Grid.around([0.0, 0, 0], data.shape, 1.5))


def test_it_says_the_mean_of_its_members(bundles, volume, tmp_path, capsys):
    assert main(["bundle", "join", *map(str, bundles), "--output", str(tmp_path / "joined")]) == 0
    assert "joined 3 bundles" in capsys.readouterr().out
    joined = LandmarkDetector.from_bundle(tmp_path / "joined")
    assert isinstance(joined, Ensemble)
    each = [LandmarkDetector.from_bundle(folder).detect(volume) for folder in bundles]
    found = joined.detect(volume)
    points = [one.points_mm for one in each]
    assert np.nanmax(np.nanstd(points, axis=0)) > 0.1  # members that agreed would prove nothing
    assert_allclose(found.points_mm, np.nanmean(points, axis=0), atol=1e-5)
    assert_allclose(found.error_mm, np.nanmean([one.error_mm for one in each], axis=0), atol=1e-5)
    assert_allclose(found.confidence, np.mean([one.confidence for one in each], axis=0), atol=1e-6)
    assert list(joined.detect_stages(volume)) == ["heatmap", "refined 1"]


def test_a_landmark_is_missing_where_half_of_the_members_find_none(bundles, volume, tmp_path):
    join_bundles(bundles[:2], tmp_path / "joined")
    joined = LandmarkDetector.from_bundle(tmp_path / "joined")
    joined.members[0].min_presence = 2.0  # finds nothing
    assert_array_equal(joined.detect(volume).present, [False] * 3)
    join_bundles(bundles, tmp_path / "three")
    joined = LandmarkDetector.from_bundle(tmp_path / "three")
    joined.members[0].min_presence = 2.0
    others = [LandmarkDetector.from_bundle(folder).detect(volume) for folder in bundles[1:]]
    mean = np.mean([one.points_mm for one in others], axis=0)  # two of three are most, one of three is not
    assert_allclose(joined.detect(volume).points_mm, mean, atol=1e-5)


def test_what_cannot_be_joined_is_told_in_one_line_and_leaves_nothing(bundles, tmp_path):
    target = tmp_path / "joined"
    with pytest.raises(InputError, match="one bundle is no ensemble; name two or more"):
        join_bundles(bundles[:1], target)
    other = shutil.copytree(bundles[1], tmp_path / "other")
    config = json.loads((other / "inference.json").read_text(encoding="utf-8"))
    (other / "inference.json").write_text(json.dumps({**config, "spacing_mm": 3.0}), encoding="utf-8")
    with pytest.raises(InputError, match=r"other.*inference.json: its 'spacing_mm' differs from that of .*seed0"):
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


def test_it_exports_as_one_network_but_not_to_onnx(bundles, tmp_path):
    join_bundles(bundles[:2], tmp_path / "joined")
    export_bundle(tmp_path / "joined", tmp_path / "zoo", torchscript=True)
    image = torch.rand(1, 1, 16, 16, 16)
    members = [LandmarkDetector.from_bundle(folder).network(image) for folder in bundles[:2]]
    script = torch.jit.load(tmp_path / "zoo" / "models" / "model.ts")
    torch.testing.assert_close(script(image), torch.stack(members).mean(0), atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="--onnx writes one network, and this bundle joins several"):
        export_bundle(tmp_path / "joined", tmp_path / "onnx", onnx=True)
    assert not (tmp_path / "onnx").exists()


def test_a_committee_has_members():
    with pytest.raises(ValueError, match="two members or more, got 0"):
        Committee([])
