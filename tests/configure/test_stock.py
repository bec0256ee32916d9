"""inference.json as MONAI's own tools read it; what it finds with MONAI's programs is tested in label/test_stock.py."""

import shutil

import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, verify_net_in_out
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, LoadImaged

from lmk3d.components import build, default_bundle, read_config
from lmk3d.configure import bundle_files
from lmk3d.configure.shipped import SHIPPED
from lmk3d.configure.stock import STOCK_INFERENCE
from lmk3d.inference import LandmarkDetector
from lmk3d.label.stock import LandmarkInferer
from lmk3d.weights import load_weights

ids = pytest.mark.parametrize("plan", SHIPPED, ids=lambda plan: plan.name)


@ids
def test_no_setting_of_the_detector_stands_twice(plan):
    inference = bundle_files(plan)["inference.json"]
    assert set(STOCK_INFERENCE) < set(inference)
    own = {name: value for name, value in inference.items() if name not in STOCK_INFERENCE}
    assert isinstance(build(own, "detector", default_bundle(plan.name)), LandmarkDetector)  # needs nothing else


@ids
def test_monai_builds_every_entry(plan, tmp_path):
    (tmp_path / "a.png").touch()
    parser = ConfigParser(bundle_files(plan)["inference.json"])
    parser["image"], parser["device"], parser["output_dir"] = str(tmp_path), "cpu", str(tmp_path)
    preprocessing = parser.get_parsed_content("preprocessing")
    assert isinstance(preprocessing, Compose)
    assert isinstance(preprocessing.transforms[0], LoadImaged)
    assert isinstance(parser.get_parsed_content("postprocessing"), Compose)
    inferer = parser.get_parsed_content("inferer")
    assert isinstance(inferer, LandmarkInferer)
    assert inferer.detector.network is parser.get_parsed_content("network")
    assert isinstance(parser.get_parsed_content("evaluator"), SupervisedEvaluator)
    assert [one["name"] for one in parser.get_parsed_content("dataset").data] == ["a"]


@ids
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_monais_checks_and_its_export_run_on_it(plan, tmp_path):
    folder = shutil.copytree(default_bundle(plan.name), tmp_path / plan.name)
    path, config = read_config(folder, "inference.json")
    network, weights = build(config, "network_def", path).eval(), folder / "models" / "model.pt"
    if not weights.is_file():
        weights.parent.mkdir(exist_ok=True)
        torch.save(network.state_dict(), weights)
    load_weights(network, weights)
    files = {"meta_file": str(folder / "metadata.json"), "config_file": str(path)}
    verify_net_in_out(net_id="network_def", device="cpu", **files)
    script = str(tmp_path / "model.ts")
    ckpt_export(net_id="network_def", filepath=script, ckpt_file=str(weights), **files)
    image = torch.rand(1, 1, *plan.sides)
    with torch.inference_mode():
        torch.testing.assert_close(torch.jit.load(script)(image), network(image), rtol=1e-3, atol=1e-3)
