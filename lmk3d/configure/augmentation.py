"""What training does to each case before the network sees it: random poses, fields of view and appearances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmk3d.configure.plan import LevelPlan, Plan

__all__ = ["augmentation", "listed"]

Config = dict[str, Any]


def augmentation(plan: Plan) -> list[Config]:
    """The random transforms of train.json, in their order."""
    levels = range(len(plan.levels))
    transforms = [_mirror()]
    if plan.waves_mm:
        transforms.append(_waves(*plan.waves_mm))
    transforms += [
        _pose(plan),
        {"_target_": "lmk3d.transforms.PosedImaged", "keys": "coarse", "window": "@window"},
        {"_target_": "lmk3d.transforms.EncodePointsd", "keys": "label", "stride": plan.stride},
    ]
    if plan.cut:
        transforms.append(
            {"_target_": "lmk3d.transforms.RandFieldOfViewd", "keys": "input", "stride": plan.stride, "cut": plan.cut}
        )
    transforms += [_patches(number, level, plan) for number, level in enumerate(plan.levels)]
    for key in ("input", *(f"patches{level}" for level in levels)):  # one by one: MONAI draws once for all keys
        transforms += _looks(key, plan)
    drawn = [f"{key}{level}" for key in ("patches", "numbers", "moves") for level in levels]
    return [*transforms, {"_target_": "SelectItemsd", "keys": ["input", "points_vox", *drawn]}]


def _looks(key: str, plan: Plan) -> list[Config]:
    """Changes of an image that no landmark minds."""
    contrast: Config = {"_target_": "RandAdjustContrastd", "keys": key, "prob": 0.5, "gamma": [0.7, 1.4]}
    noise: Config = {"_target_": "RandGaussianNoised", "keys": key, "prob": 0.3, "std": 0.05}
    if plan.scanners:
        return [*_scanners(key, plan), noise]
    if not plan.varied:
        return [contrast, noise]
    changes: list[Config] = [
        {**contrast, "prob": 0.8, "gamma": [0.5, 2.0]},
        {"_target_": "RandScaleIntensityd", "keys": key, "prob": 0.5, "factors": 0.3},
        {"_target_": "RandShiftIntensityd", "keys": key, "prob": 0.5, "offsets": 0.2},
    ]
    if key == "input":
        small, large = max(plan.sides) // 20, max(plan.sides) // 8
        blur: Config = {"_target_": "RandGaussianSmoothd", "keys": key, "prob": 0.3}
        hide: Config = {"_target_": "RandCoarseDropoutd", "keys": key, "prob": 0.5, "fill_value": [0.0, 1.0]}
        changes += [
            {**blur, "sigma_x": [0.3, 1.0], "sigma_y": [0.3, 1.0], "sigma_z": [0.01, 0.02]},
            {
                **hide,
                "holes": 3,
                "spatial_size": [small, small, 1],
                "max_holes": 8,
                "max_spatial_size": [large, large, 1],
            },
        ]
    return [*changes, noise]


def _scanners(key: str, plan: Plan) -> list[Config]:
    """What other scanners and protocols would change; of CT, whose numbers mean tissues, much less than of others.

    The probabilities are those of nnU-Net (Isensee et al. 2021) or near; a refiner's patches vary less than the first
    stage's input, since they must tell a fraction of a voxel.
    """
    coarse = key == "input"
    bias: Config = {"_target_": "RandBiasFieldd", "keys": key, "prob": 0.3, "coeff_range": [0.0, 0.3]}
    inverted: Config = {"_target_": "RandAdjustContrastd", "keys": key, "prob": 0.25, "gamma": [0.7, 1.5]}
    others: list[Config] = [
        {"_target_": "lmk3d.transforms.RandConvolutionsd", "keys": key, "prob": 0.7 if coarse else 0.3},
        {**inverted, "invert_image": True},
        bias,
    ]
    return [
        *(others if plan.scanners == "any" else []),
        {"_target_": "RandAdjustContrastd", "keys": key, "prob": 0.5, "gamma": [0.5, 2.0]},
        {"_target_": "RandScaleIntensityd", "keys": key, "prob": 0.3, "factors": 0.25},
        {"_target_": "RandShiftIntensityd", "keys": key, "prob": 0.3, "offsets": 0.1},
        {"_target_": "lmk3d.transforms.RandLowResolutiond", "keys": key, "prob": 0.25 if coarse else 0.1},
        {
            "_target_": "RandGaussianSmoothd",
            "keys": key,
            "prob": 0.2,
            **{f"sigma_{axis}": [0.3, 1.0] for axis in "xyz"},
        },
    ]


def _mirror() -> Config:
    return {
        "_target_": "lmk3d.transforms.RandMirrord",
        "keys": "label",
        "names": "@names",
        "pairs": "@pairs",
        "one_sided": "@one_sided",
    }


def _waves(amplitude_mm: float, wavelength_mm: float) -> Config:
    return {
        "_target_": "lmk3d.transforms.RandWavesd",
        "keys": "label",
        "amplitude_mm": round(float(amplitude_mm), 3),
        "wavelength_mm": round(float(wavelength_mm), 3),
    }


def _pose(plan: Plan) -> Config:
    return {
        "_target_": "lmk3d.transforms.RandPosed",
        "keys": "coarse",
        "sides": "@sides",
        "spacing_mm": "@spacing_mm",
        "max_angle": plan.max_angle,
        "zoom": plan.zoom,
        "shift_mm": listed(plan.shift_mm),
        "crop": plan.crop,
        **({"reflect": plan.reflect} if plan.reflect else {}),
        **({"usual": plan.usual, "usual_shift_mm": listed(plan.usual_shift_mm)} if plan.usual else {}),
        "shape": _shape(plan),
    }


def listed(value: float | tuple[float, ...]) -> float | list[float]:
    """As JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def _patches(number: int, level: LevelPlan, plan: Plan) -> Config:
    return {
        "_target_": "lmk3d.transforms.RandPatchesd",
        "keys": "image",
        "window": "@window",
        "level": number,
        "spacing_mm": level.spacing_mm,
        "size": level.size,
        "offset_mm": level.offset_mm,
        "count": level.count,
        "shape": _shape(plan),
        "max_angle": 0.2 if plan.varied else 0.15,
        # A column may bend: its steps turn and vary more than the patient does.
        **({"tree": "@tree", "max_angle": 0.45, "zoom": 0.2} if level.steps else {}),
    }


def _shape(plan: Plan) -> str | None:
    return "@shape_model" if plan.any_pose else None
