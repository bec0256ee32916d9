"""The random transforms of train.json: what varies, by modality, and that every one of them can be built and run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from lmk3d.configure.augmentation import augmentation
from lmk3d.configure.shipped import CASCADE, DENSESEG
from lmk3d.transforms.intensity import Window

SMALL = replace(CASCADE, names=("a", "b"), sides=(32, 32, 32), crop=False, scanners="", cut=0.0)


def kinds(plan, key):
    return [one["_target_"].rpartition(".")[2] for one in augmentation(plan) if one.get("keys") == key]


def test_appearance_varies_by_modality():
    assert kinds(SMALL, "input") == ["RandAdjustContrastd", "RandGaussianNoised"]
    ct, other = (kinds(replace(SMALL, scanners=name), "input") for name in ("ct", "any"))
    assert "RandConvolutionsd" not in ct
    assert {"RandLowResolutiond", "RandGaussianSmoothd", "RandScaleIntensityd", "RandShiftIntensityd"} < set(ct)
    assert other[:3] == ["RandConvolutionsd", "RandAdjustContrastd", "RandBiasFieldd"]
    assert other[3:] == ct
    assert kinds(replace(DENSESEG, varied=True), "input")[-2:] == ["RandCoarseDropoutd", "RandGaussianNoised"]


def test_patches_vary_less_than_the_first_stages_input():
    every = augmentation(replace(SMALL, scanners="any"))
    prob = {one["keys"]: one["prob"] for one in every if one["_target_"].endswith("RandConvolutionsd")}
    assert prob["patches0"] < prob["input"]


@pytest.mark.parametrize("scanners", ["", "ct", "any"])
def test_every_transform_runs_and_the_field_of_view_varies(scanners):
    plan = replace(SMALL, scanners=scanners, cut=0.35, reflect=0.3, zoom=0.35)
    config = {"window": Window(-200, 700), "names": ["a", "b"], "pairs": [], "one_sided": []}
    config |= {"sides": list(plan.sides), "spacing_mm": 3.0, "augment": augmentation(plan)}
    transforms = ConfigParser(config).get_parsed_content("augment")
    volume = MetaTensor(torch.randn(1, 30, 30, 30) * 200 + 100, affine=torch.diag(torch.tensor([3.0, 3, 3, 1])))
    case = {"image": volume, "coarse": volume, "label": np.array([[40.0, 40, 40], [75, 40, 15]])}
    cut, blank = 0, 0
    for seed in range(6):
        out = case
        for number, transform in enumerate(transforms):
            if hasattr(transform, "set_random_state"):
                transform.set_random_state(100 * seed + number)
            out = transform(out)
        assert out["input"].shape == (1, 32, 32, 32)
        assert out["patches1"].shape == (plan.levels[1].count, 24, 24, 24)
        assert torch.isfinite(out["input"]).all()
        cut += bool((out["points_vox"] < -100).any())
        blank += float((out["input"].std((1, 2, 3)) < 1e-3).float().mean())
    assert cut > 0
    assert blank == 0
