"""A train.json of others is a program: what lmk3d itself writes is known, everything else is asked for."""

import json
from dataclasses import replace

import pytest

from lmk3d.configure import Plan, write_bundle
from lmk3d.configure.methods import METHODS
from lmk3d.configure.plan import LevelPlan
from lmk3d.configure.shipped import CASCADE, DENSESEG, SHIPPED
from lmk3d.configure.trust import check_trusted
from lmk3d.errors import InputError

TINY = Plan(
    "tiny",
    "t",
    names=("a", "b"),
    pairs=(),
    low=0.0,
    high=1.0,
    spacing_mm=0.37,
    sides=(16, 16, 16),
    levels=(),
    repeats=7,
)


@pytest.mark.parametrize(
    "plan",
    [
        *SHIPPED,
        TINY,
        replace(TINY, any_pose=True, dataset="/data/one.json"),
        replace(TINY, tree=True, levels=(LevelPlan(1.5, 16, 2.0, steps=True),)),
        replace(DENSESEG, method="cascade", tree=True, side_px=217.5, levels=(LevelPlan(1.5, 16, 2.0),)),
        *(replace(DENSESEG, method=method, dataset="x.json", epochs=7) for method in METHODS),
        replace(CASCADE, any_pose=True, missing="unknown", varied=True, waves_mm=None),
    ],
    ids=lambda plan: f"{plan.name} {plan.method}",
)
def test_what_this_package_writes_is_trusted_whatever_its_numbers(tmp_path, plan):
    write_bundle(tmp_path, plan)
    check_trusted(tmp_path)


def spoilt(folder, **changes):
    write_bundle(folder, TINY)
    path = folder / "train.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 3, "learning_rate": 1e-4, "names": ["a", "b"]},
        {"own": {"_target_": "lmk3d.networks.HeatmapUNet", "num_outputs": 3}},
        {"own": {"_target_": "torch.optim.SGD", "lr": 0.1}},
        {"own": [{"_target_": "RandZoomd", "keys": "image"}]},
        {"own": "costs 5 $, or 3 %"},
    ],
)
def test_settings_and_components_may_be_changed(tmp_path, changes):
    spoilt(tmp_path, **changes)
    check_trusted(tmp_path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"_desc_": "$__import__('os').system('x')"}, r"train\.json: _desc_: .* is code that lmk3d did not write"),
        ({"own": {"deep": [1, {"_requires_": "$print(1)"}]}}, "own#deep#1#_requires_: '\\$print"),
        ({"own": {"_target_": "os.system", "command": "ls"}}, "own#_target_: 'os.system' is code"),
        ({"own": {"_target_": "lmk3d.pages.server.PageServer", "page": ""}}, "PageServer' is code"),
        ({"own": {"_target_": "lmk3d.training.datalist"}}, "datalist' is code"),
        ({"own": {"_target_": "lmk3d.codecs.dense.np.f2py.subprocess.Popen", "args": ["ls"]}}, "Popen' is code"),
        ({"own": {"_target_": "lmk3d.training.loop.Path", "args": ["x"]}}, "Path' is code"),
        ({"own": {"_target_": "RandLambdad", "keys": "a"}}, "RandLambdad' is code"),
        ({"own": {"_target_": "$@run"}}, "own#_target_: '\\$@run' is code"),
        ({"own": {"_target_": "Compose", "_mode_": "debug"}}, "own#_mode_: 'debug' is code"),
        ({"own": "%other.json#code"}, "own: '%other.json#code' is code"),
        ({"imports": ["$import os; os.system('x')"]}, "imports#0: .* if you know .* give --trust"),
        ({"own": "$" + 300 * "x"}, r"own: '\$x{59}\.\.\.' is code"),
    ],
)
def test_code_of_others_is_named(tmp_path, changes, text):
    spoilt(tmp_path, **changes)
    with pytest.raises(InputError, match=text) as raised:
        check_trusted(tmp_path)
    assert "\n" not in str(raised.value)
