"""Configurations: slips are named with the nearest valid word; nothing but this package's classes is built."""

import json
from pathlib import Path

import pytest
import torch

from lmk3d.codecs import HeatmapCodec
from lmk3d.components import build, check, find_bundle, hint, read_config
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
            "codec: HeatmapRefiner cannot be made: patch_size must be a multiple of 8 from 8 to 512, got 20",
        ),
        ({"codec": {"_target_": "os.system", "command": "ls"}}, "codec: 'os.system' is not part of lmk3d"),
        ({"codec": {"_target_": "lmk3d.networks.nowhere.X"}}, r"codec: there is no module 'lmk3d\.networks\.nowhere'"),
        # Functions are not built, what a module has imported is not its own, and other rooms are no business of a file.
        ({"codec": {"_target_": "lmk3d.codecs.contour_masks"}}, r"codec: lmk3d\.codecs has no class 'contour_masks'"),
        ({"codec": {"_target_": "lmk3d.networks.blocks.Sequence"}}, "has no class 'Sequence'"),
        (
            {"codec": {"_target_": "lmk3d.pages.server.PageServer"}},
            "PageServer' is no component of a bundle; those are",
        ),
        (
            {"codec": {"_target_": "lmk3d.io.write_points", "path": "x"}},
            "is no component of a bundle; those are in lmk3d",
        ),
        ({"codec": {"_target_": "lmk3d.components.import_module", "name": "x"}}, "is no component of a bundle"),
        ({"codec": "@thing"}, "codec: 'thing' is made of itself; break the circle"),
    ],
)
def test_a_slip_is_named(changes, text):
    with pytest.raises(InputError, match=text):
        build(config(**changes), "thing", FILE)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"sigma_vox": "wide"}, "codec: HeatmapCodec: sigma_vox cannot be 'wide'; it takes float"),
        ({"sigma_vox": True}, "sigma_vox cannot be True; it takes float"),
        ({"sigma_vox": float("nan")}, "sigma_vox cannot be nan; it takes float"),
        ({"sigma_vox": 10**400}, "sigma_vox cannot be 1000"),
        ({"sigma_vox": 1.0, "num_peaks": 1.5}, "num_peaks cannot be 1.5; it takes int"),
        ({"sigma_vox": 1.0, "background": None}, "background cannot be None; it takes bool"),
        ({"sigma_vox": [1.0] * 9}, "sigma_vox cannot be a list of 9; it takes float"),
    ],
)
def test_a_value_of_another_kind_is_named(arguments, text):
    with pytest.raises(InputError, match=text):
        build({"codec": {"_target_": "lmk3d.codecs.HeatmapCodec", **arguments}}, "codec", FILE)


def test_components_are_told_from_plain_values():
    detector = {"_target_": "lmk3d.transforms.PosedImaged", "keys": ["a"], "window": {"low": 1, "high": 2}}
    with pytest.raises(InputError, match="PosedImaged: window cannot be an object of JSON; it takes Window"):
        build({"thing": detector}, "thing", FILE)
    codec = {"_target_": "lmk3d.codecs.HeatmapCodec", "sigma_vox": {"_target_": "lmk3d.codecs.HeatmapCodec"}}
    with pytest.raises(InputError, match="sigma_vox cannot be a HeatmapCodec; it takes float"):
        build({"thing": codec}, "thing", FILE)
    mean = {"_target_": "lmk3d.networks.MeanMaps", "members": ["net", "net"]}
    with pytest.raises(InputError, match=r"members cannot be a list of 2; it takes Sequence\[nn.Module\]"):
        build({"thing": mean}, "thing", FILE)


def test_each_entry_is_made_once_however_often_it_is_named():
    doubled = {f"e{row}": [f"@e{row + 1}"] * 2 for row in range(100)}
    node = build({**doubled, "e100": 7}, "e0", FILE)
    for _ in range(100):
        assert node[0] is node[1] or node == [7, 7]
        node = node[0]
    assert node == 7


def test_a_file_nested_without_end_is_refused():
    with pytest.raises(InputError, match=r"inference\.json: e0: is nested too deeply"):
        build({**{f"e{row}": [f"@e{row + 1}"] for row in range(5000)}, "e5000": 7}, "e0", FILE)


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


def test_a_file_that_is_too_large_for_a_configuration_is_not_read(tmp_path):
    (tmp_path / "inference.json").write_bytes(b" " * (2**24 + 1))
    with pytest.raises(InputError, match=r"inference\.json: is 16 MB, too large for a configuration"):
        read_config(tmp_path, "inference.json")


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


def test_a_bundle_is_found_by_its_path_or_by_the_name_of_a_shipped_one(fake_bundle):
    assert find_bundle(fake_bundle) == find_bundle(str(fake_bundle)) == fake_bundle
    assert find_bundle("cascade") == fake_bundle
    with pytest.raises(InputError, match=r"faek: no such bundle folder, did you mean 'fake'\?; give a bundle's folder"):
        find_bundle(fake_bundle.with_name("faek"))
    with pytest.raises(InputError, match=r"model\.pt: is a file; give the folder of the bundle"):
        find_bundle(fake_bundle / "models" / "model.pt")
