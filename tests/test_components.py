"""Configurations: slips are named with the nearest valid word; nothing but this package's classes is built."""

import json
from pathlib import Path

import pytest
import torch

from lmk3d.codecs import HeatmapCodec
from lmk3d.components import build, check, hint, read_config
from lmk3d.errors import InputError
from lmk3d.inference import Level
from lmk3d.networks import HeatmapUNet

FILE = Path("bundle/inference.json")


def config(**changes):
    base = {
        "sigma": 1.25,
        "codec": {"_target_": "lmk3d.codecs.HeatmapCodec", "sigma_vox": "@sigma"},
        "levels": [{"_target_": "lmk3d.inference.Level", "spacing_mm": 0.5, "size": 24}, {"free": ["@sigma"]}],
        "thing": {"codec": "@codec", "levels": "@levels", "text": "a@sigma"},
    }
    return {**base, **changes}


def test_components_references_and_plain_values_are_made():
    thing = build(config(), "thing", FILE)
    assert thing["codec"] == HeatmapCodec(sigma_vox=1.25)
    assert thing["levels"] == [Level(0.5, 24), {"free": [1.25]}]
    assert thing["text"] == "a@sigma"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"codec": {"_target_": "lmk3d.codecs.HeatmapCodec", "sigma": 1.0}},
            r"inference.json: codec: HeatmapCodec has no argument 'sigma'; did you mean 'sigma_vox'\?",
        ),
        (
            {"codec": {"_target_": "lmk3d.codecs.HeatmapCodec", "zzz": 1.0}},
            "codec: HeatmapCodec has no argument 'zzz'; known are sigma_vox, background, peak, num_peaks",
        ),
        ({"codec": "@sigam"}, r"codec: nothing is called 'sigam'; did you mean 'sigma'\?"),
        (
            {"codec": {"_target_": "lmk3d.codecs.HeatmapCoded"}},
            r"codec: lmk3d.codecs has no class 'HeatmapCoded'; did you mean 'HeatmapCodec'\?",
        ),
        (
            {"levels": [{"_target_": "lmk3d.inference.Level", "spacing_mm": 0.5}]},
            "levels#0: Level lacks its argument 'size'; add it",
        ),
        (
            {"codec": {"_target_": "lmk3d.networks.HeatmapRefiner", "num_landmarks": 2, "patch_size": 20}},
            "codec: lmk3d.networks.HeatmapRefiner cannot be made: patch_size must be a multiple of 8, got 20",
        ),
        ({"codec": {"_target_": "os.system", "command": "ls"}}, "codec: 'os.system' is not part of lmk3d"),
        ({"codec": {"_target_": "lmk3d.nowhere.X"}}, "codec: there is no module 'lmk3d.nowhere'"),
        # Functions are not built, and what a module has imported is not its own.
        ({"codec": {"_target_": "lmk3d.io.write_points", "path": "x"}}, "codec: lmk3d.io has no class 'write_points'"),
        ({"codec": {"_target_": "lmk3d.components.import_module", "name": "x"}}, "has no class 'import_module'"),
        ({"codec": "@thing"}, "codec: 'thing' is made of itself; break the circle"),
    ],
)
def test_a_slip_is_named(changes, text):
    with pytest.raises(InputError, match=text):
        build(config(**changes), "thing", FILE)


def test_an_entry_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"inference.json: thng: nothing is called 'thng'; did you mean 'thing'\?"):
        build(config(), "thng", FILE)


def test_the_nearest_word_or_all_of_them():
    assert hint("epoch", ["epochs", "seed"]) == "did you mean 'epochs'?"
    assert hint("xyz", ["epochs", "seed"]) == "known are epochs, seed"
    assert hint("xyz", []) == "known are none"


def test_a_configuration_is_read_from_either_place(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text('{"a": 1}', encoding="utf-8")
    path, content = read_config(tmp_path, "inference.json")
    assert path == tmp_path / "configs" / "inference.json"
    assert content == {"a": 1}
    (tmp_path / "inference.json").write_text('{"a": 2}', encoding="utf-8")
    assert read_config(tmp_path, "inference.json")[1] == {"a": 2}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "inference.json: no such file; give the folder of a bundle"),
        ("{", "inference.json, line 1, column 2: is no valid JSON: ends too early"),
        ("[1, 2]", "inference.json: is no configuration; it must be an object of names and values"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path, content, text):
    if content is not None:
        (tmp_path / "inference.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=text):
        read_config(tmp_path, "inference.json")


KNOWN = {
    "HeatmapUNet": HeatmapUNet,
    "Adam": torch.optim.Adam,
    "DataLoader": torch.utils.data.DataLoader,
    "open": lambda path, *, mode="r": None,
    "anything": lambda **options: None,
}


class OwnReader(torch.utils.data.DataLoader):
    """Hands its other arguments on, as MONAI's does."""

    def __init__(self, dataset, num_workers=0, **kwargs):
        super().__init__(dataset, num_workers=num_workers, **kwargs)


KNOWN["OwnReader"] = OwnReader


def training(**changes):
    base = {
        "epochs": 3,
        "names": ["a", "b"],
        "network_def": {"_target_": "HeatmapUNet", "num_outputs": "$len(@names)"},
        "train": {
            "loader": {"_target_": "OwnReader", "dataset": "@names", "batch_size": 2, "num_workers": 0},
            "optimizer": {"_target_": "Adam", "params": "$@network_def.parameters()", "lr": 0.1},
            "free": {"_target_": "anything", "whatever": "@train#loader#batch_size"},
            "stop": "$@epochs + @names#1",
        },
        "run": ["$@train#optimizer.step()"],
    }
    return json.loads(json.dumps({**base, **changes}))


def test_a_sound_training_configuration_passes():
    check(training(), Path("train.json"), KNOWN.get)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"network_def": {"_target_": "HeatmapUNet", "num_output": 2}},
            r"train.json: network_def: HeatmapUNet has no argument 'num_output'; did you mean 'num_outputs'\?",
        ),
        ({"network_def": {"_target_": "HeatmapUNet"}}, "network_def: HeatmapUNet lacks its argument 'num_outputs'"),
        ({"network_def": {"_target_": "HeatmapUNot"}}, "network_def: there is no 'HeatmapUNot'"),
        (
            {"x": {"y": [{"_target_": "OwnReader", "dataset": "@names", "bacth_size": 2}]}},
            r"x#y#0: OwnReader has no argument 'bacth_size'; did you mean 'batch_size'\?",
        ),
        ({"x": "$1 + @epoch"}, r"x: nothing is called 'epoch'; did you mean 'epochs'\?"),
        ({"x": "@train#optimiser"}, r"x: nothing is called 'train#optimiser'; did you mean 'optimizer'\?"),
        ({"epoch": 5}, r"train.json: nothing uses 'epoch'; did you mean 'epochs'\?"),
        (
            {"x": {"_target_": "open", "path": "a", "mod": "w"}},
            r"x: <lambda> has no argument 'mod'; did you mean 'mode'\?",
        ),
    ],
)
def test_a_slip_in_a_training_configuration_is_named(changes, text):
    with pytest.raises(InputError, match=text):
        check(training(**changes), Path("train.json"), KNOWN.get)
