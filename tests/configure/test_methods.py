"""Published methods as plans: which goes with which images, and what a data set makes of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lmk3d.cli.learn import _METHODS
from lmk3d.components import build
from lmk3d.configure import LevelPlan, Plan, bundle_files
from lmk3d.configure.methods import METHODS, method_of, with_method
from lmk3d.errors import InputError
from lmk3d.io import read_dataset

FILM = Plan("film", "for tests", ("a", "b", "c"), (), 0.0, 1.0, 2.0, (64, 32, 1), (), channels=(4, 4, 8, 8),
            structures={"one": ["a", "b", "c"]}, percentiles=True)  # fmt: skip


def test_the_shell_knows_every_method():
    assert tuple(METHODS) == _METHODS[1:]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_makes_a_bundle_of_films(name, tmp_path):
    files = bundle_files(replace(FILM, method=name))
    detector = build(files["inference.json"], "detector", tmp_path / "inference.json")
    assert len(detector.network.refiners) == 0
    assert files["train.json"]["network_def"] == files["inference.json"]["network_def"]
    assert files["train.json"]["codec"] == files["inference.json"]["codec"]
    assert files["inference.json"]["report"]["sdr_mm"]
    outputs = files["metadata.json"]["network_data_format"]["outputs"]["pred"]
    shape = detector.network(torch.zeros(1, 1, 64, 64, 1)).shape
    assert outputs["num_channels"] == shape[1]
    assert list(outputs["channel_def"].values()) == ["background", *detector.names]  # of the label map, not of the maps


def test_peaks_are_chosen_by_a_tree_where_a_name_has_one_point_and_a_map():
    cascade = replace(FILM, tree=True, levels=(LevelPlan(1.0, 16, 2.0),))
    train = bundle_files(cascade)["train.json"]
    assert train["tree"] == "$lmk3d.priors.learn_tree(@train#dataset#data, @names, films=True, side_px=None)"
    assert train["objective"]["tree"] == "@tree"
    assert train["network_def"]["tree"] is True
    assert "places" not in train["network_def"]
    assert bundle_files(cascade)["paper.json"]["objective#tree"] is None


@pytest.mark.parametrize("name", ["plain", "spatial_configuration", "appearance_context"])
def test_three_of_them_also_look_at_volumes(name, tmp_path):
    files = bundle_files(replace(FILM, sides=(16, 16, 16), method=name))
    detector = build(files["inference.json"], "detector", tmp_path / "inference.json")
    assert detector.network.heatmap.divisor in (8, 16)
    assert "FlatDepth" not in json.dumps(files["inference.json"])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"method": "landmrknet"}, "no method is called 'landmrknet'; known are cascade, plain,"),
        ({"method": "landmarknet", "sides": (16, 16, 16)}, "landmarknet is for films; volumes can be trained with"),
        ({"method": "denseseg", "structures": {}}, "denseseg needs contours; list them in the data set under"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, text):
    with pytest.raises(InputError, match=text):
        method_of(replace(FILM, **changes))


def test_a_data_set_says_how_many_instances_and_which_contours(tmp_path):
    (tmp_path / "one.csv").write_text("name,x,y,z\na,1,2,0\na,3,4,0\nb,5,6,0\n", encoding="utf-8")
    content = {"landmarks": ["a", "b", "c"], "structures": {"all": ["c", "a", "b"]}}
    content["training"] = [{"image": "one.png", "points": "one.csv"}]
    (tmp_path / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    dataset = read_dataset(tmp_path / "dataset.json")
    plan = with_method(replace(FILM, levels=(1,)), "landmarknet", dataset)
    assert (plan.instances, plan.missing, plan.levels, plan.min_presence) == (2, "absent", (), 0.3)
    assert with_method(FILM, "denseseg", dataset).structures == {"all": ("c", "a", "b")}
    assert with_method(FILM, "denseseg", dataset).instances == 1
    assert np.isclose(with_method(FILM, "plain", dataset).min_presence, FILM.min_presence)
