"""From a data set to a bundle of its own: a plan made from the fingerprint, written as configurations one can edit."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.bundle import ConfigParser

from lmk3d.errors import InputError
from lmk3d.evaluation import evaluate
from lmk3d.geometry import Grid, Volume, fit_similarity
from lmk3d.io import atomic_path, check_dataset, read_dataset, read_points
from lmk3d.training import KeepWithin, prepare_batch, total_loss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lmk3d.io import Dataset, Fingerprint

__all__ = ["LevelPlan", "Plan", "bundle_files", "plan_for", "train_dataset", "write_bundle"]


@dataclass(frozen=True)
class LevelPlan:
    """One refiner: patch spacing and size, width of its three levels, the starts it is trained on."""

    spacing_mm: float
    size: int
    offset_mm: float
    channels: tuple[int, int, int] = (16, 32, 64)
    count: int = 24
    passes: int = 1


@dataclass(frozen=True)
class Plan:
    """Every number of a cascade that depends on the data; all of it ends up in the bundle's JSON under its own name.

    Args:
        name, description: of the bundle.
        names, pairs, one_sided: the landmarks, as in the data set.
        low, high, percentiles: the intensity window.
        spacing_mm: of the first stage's input; its maps are ``stride`` times coarser.
        sides: voxels of the input grid in training.
        levels: the refiners, coarse to fine.
        any_pose: patients lie at any angle: search the pose, use the shape model.
        max_angle: radians by which training turns the first stage's grid.
        shift_mm, crop: how the grid's middle is drawn in training; see ``RandPosed``.
        missing: what a landmark without a point means; see ``CascadeObjective``.
        tolerance_mm: of the shape fit.
        waves_mm: amplitude and wavelength of the elastic deformation.
        dataset: path of the data set's JSON; "" for phantoms.
        phantoms: section to the arguments of each phantom, used when there is no data set.
        epochs, batch_size, learning_rate, repeats: of the training; each case is drawn ``repeats`` times an epoch.
        validate_every: epochs.
    """

    name: str
    description: str
    names: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    low: float
    high: float
    spacing_mm: float
    sides: tuple[int, int, int]
    levels: tuple[LevelPlan, ...]
    percentiles: bool = False
    one_sided: tuple[str, ...] = ()
    stride: int = 2
    channels: tuple[int, ...] = (16, 32, 64, 128)
    any_pose: bool = False
    max_angle: float = 0.2
    shift_mm: float | tuple[float, ...] = 5.0
    crop: bool = False
    missing: str = "unknown"
    tolerance_mm: float = 1.0
    waves_mm: tuple[float, float] | None = None
    dataset: str = ""
    phantoms: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    epochs: int = 100
    batch_size: int = 2
    learning_rate: float = 2e-3
    repeats: int = 1
    validate_every: int = 5


def plan_for(dataset: Dataset, path: Path, fingerprint: Fingerprint) -> Plan:
    """Choose every number from the data's fingerprint.

    The first stage sees the longest side as 112 voxels, or 64 where the pose has to be searched; the last refiner sees
    patches a little coarser than the voxels; a level between them is put in where the first stage's error would not fit
    into the last one's patch. The factors were chosen on the benchmark sets; docs/cascade.rst has the comparison.

    Raises:
        InputError: if the data set holds films, or too few cases to train on.
    """
    sizes, spacings = np.asarray(fingerprint.sizes, float), np.asarray(fingerprint.spacings_mm, float)
    if (sizes[:, 2] == 1).any():
        raise InputError(f"{path}: it holds films (one slice); this version trains the cascade on volumes only")
    shapes = [read_points(case.points).ordered(dataset.landmark_names).points_mm for case in _marked(dataset, path)]
    extents = np.median(sizes * spacings, axis=0)
    any_pose = _turned(shapes)
    spacing = float(np.ceil(1e3 * extents.max() / (64 if any_pose else 112)) / 1e3)
    native = float(np.median(spacings.min(axis=1)))
    fine = LevelPlan(float(np.round(1.42 * native, 3)), 24, 2 * native, passes=2)
    sides = np.full(3, 64.0) if any_pose else np.ceil(np.minimum(extents / spacing, 128) / 16) * 16
    levels = [fine]
    if not any_pose and spacing > 1.3 * fine.spacing_mm:
        levels.insert(0, LevelPlan(spacing, 24, 2 * spacing))
    window = fingerprint.window()
    reach = float(np.nanmedian([np.ptp(shape[np.isfinite(shape).all(1)], axis=0).max() for shape in shapes]))
    return Plan(
        name=path.stem if path.stem != "dataset" else dataset.name,
        description=dataset.description,
        names=tuple(dataset.landmark_names),
        pairs=tuple(dataset.pairs),
        one_sided=tuple(dataset.one_sided),
        low=window[0],
        high=window[1],
        percentiles=window[2],
        spacing_mm=spacing,
        sides=tuple(int(side) for side in sides),  # type: ignore[arg-type]
        levels=tuple(levels),
        any_pose=any_pose,
        max_angle=1.13 if any_pose else 0.2,  # 65 degrees, what 24 looks leave at most
        shift_mm=tuple((0.08 * (extents.max().repeat(3) if any_pose else extents)).round(2).tolist()),
        tolerance_mm=2 * spacing,
        waves_mm=(0.013 * reach, 0.45 * reach),
        dataset=str(path.resolve()),
        epochs=max(10, 4000 // len(shapes)),
        validate_every=25 if any_pose else 10,
    )


def _marked(dataset: Dataset, path: Path) -> list[Any]:
    cases = [case for case in dataset.cases("training") if case.points is not None]
    if len(cases) < 2:
        raise InputError(f"{path}: training needs at least 2 cases with points, got {len(cases)}")
    return cases


def _turned(shapes: list[Any]) -> bool:
    """Whether patients lie at any angle: half of the rotations between shapes and the first one exceed 30 degrees."""
    angles = []
    for shape in shapes[1:]:
        both = np.isfinite(shape).all(1) & np.isfinite(shapes[0]).all(1)
        points = shapes[0][both] - shapes[0][both].mean(0) if both.any() else shapes[0][both]
        # Points on a line or in fewer than four places say nothing certain about a rotation.
        if both.sum() < 4 or np.linalg.svd(points, compute_uv=False)[1] < 0.1 * np.linalg.norm(points):
            continue
        rotation = fit_similarity(shapes[0], shape, scale=False)[:3, :3]
        angles.append(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    return bool(angles) and float(np.median(angles)) > np.pi / 6


def _detector(plan: Plan) -> dict[str, Any]:
    """What prediction needs; the same ids stand in train.json and inference.json."""
    return {
        "names": list(plan.names),
        "spacing_mm": plan.spacing_mm,
        "window": {
            "_target_": "lmk3d.transforms.intensity.Window",
            "low": plan.low,
            "high": plan.high,
            "percentiles": plan.percentiles,
        },
        "codec": {"_target_": "lmk3d.codecs.HeatmapCodec", "sigma_vox": 1.0, "decode_radius": 1},
        "levels": [
            {
                "_target_": "lmk3d.inference.Level",
                "spacing_mm": level.spacing_mm,
                "size": level.size,
                "passes": level.passes,
            }
            for level in plan.levels
        ],
        "network_def": {
            "_target_": "lmk3d.networks.Cascade",
            "heatmap": {
                "_target_": "lmk3d.networks.HeatmapUNet",
                "num_outputs": len(plan.names),
                "channels": list(plan.channels),
                "stride": plan.stride,
            },
            "refiners": [
                {
                    "_target_": "lmk3d.networks.HeatmapRefiner",
                    "num_landmarks": len(plan.names),
                    "patch_size": level.size,
                    "channels": list(level.channels),
                    "max_move_vox": level.size / 2,
                }
                for level in plan.levels
            ],
            "num_landmarks": len(plan.names),
        },
        "detector": {
            "_target_": "lmk3d.inference.LandmarkDetector",
            "network": "@network_def",
            "names": "@names",
            "window": "@window",
            "codec": "@codec",
            "spacing_mm": "@spacing_mm",
            "levels": "@levels",
            "pose": "any" if plan.any_pose else "world",
            "tolerance_mm": plan.tolerance_mm,
            "sides": list(plan.sides),
        },
    }


def _transforms(plan: Plan) -> dict[str, Any]:
    """Loading (cached) and the random transforms of one training sample."""
    patches = [f"patches{level}" for level in range(len(plan.levels))]
    shape = "@shape_model" if plan.any_pose else None
    random: list[dict[str, Any]] = [
        {"_target_": "lmk3d.transforms.RandMirrord", "keys": "label", "names": "@names", "pairs": "@pairs", "one_sided": "@one_sided"}
    ]
    if plan.waves_mm:
        amplitude, wavelength = (float(np.round(value, 3)) for value in plan.waves_mm)
        random.append(
            {"_target_": "lmk3d.transforms.RandWavesd", "keys": "label", "amplitude_mm": amplitude, "wavelength_mm": wavelength}
        )
    random.append(
        {
            "_target_": "lmk3d.transforms.RandPosed",
            "keys": "coarse",
            "sides": list(plan.sides),
            "spacing_mm": "@spacing_mm",
            "max_angle": plan.max_angle,
            "zoom": 0.1,
            "shift_mm": plan.shift_mm if np.isscalar(plan.shift_mm) else list(plan.shift_mm),
            "crop": plan.crop,
            "shape": shape,
        }
    )
    random.append({"_target_": "lmk3d.transforms.PosedImaged", "keys": "coarse", "window": "@window"})
    random.append({"_target_": "lmk3d.transforms.EncodePointsd", "keys": "label", "stride": plan.stride})
    for number, level in enumerate(plan.levels):
        random.append(
            {
                "_target_": "lmk3d.transforms.RandPatchesd",
                "keys": "image",
                "window": "@window",
                "level": number,
                "spacing_mm": level.spacing_mm,
                "size": level.size,
                "offset_mm": level.offset_mm,
                "count": level.count,
                "shape": shape,
                "max_angle": 0.15,
            }
        )
    for key in ("input", *patches):  # one by one: MONAI draws one noise for all keys of a transform
        random.append({"_target_": "RandAdjustContrastd", "keys": key, "prob": 0.5, "gamma": [0.7, 1.4]})
        random.append({"_target_": "RandGaussianNoised", "keys": key, "prob": 0.3, "std": 0.05})
    random += [
        {
            "_target_": "SelectItemsd",
            "keys": ["input", "points_vox", *(f"{key}{n}" for key in ("patches", "numbers", "moves") for n in range(len(plan.levels)))],
        },
    ]
    return {
        "load": [
            {"_target_": "lmk3d.transforms.LoadCased", "names": "@names"},
            {"_target_": "lmk3d.transforms.BlockMeansd", "keys": "image", "spacing_mm": "@spacing_mm"},
        ],
        "augment": random,
    }


def _train_config(plan: Plan) -> dict[str, Any]:
    """train.json: MONAI's trainer over both stages."""
    transforms, detector = _transforms(plan), _detector(plan)
    return {
        "imports": ["$import torch", "$import lmk3d", "$import lmk3d.training"],
        "bundle_root": "$lmk3d.training.bundle_root()",
        "ckpt_dir": "$@bundle_root + '/models'",
        "dataset": plan.dataset,
        "phantoms": {section: [dict(one) for one in some] for section, some in plan.phantoms.items()},
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "amp": "$torch.cuda.is_available()",
        "seed": 0,
        "epochs": plan.epochs,
        "learning_rate": plan.learning_rate,
        "validate_every": plan.validate_every,
        "pairs": [list(pair) for pair in plan.pairs],
        "one_sided": list(plan.one_sided),
        **detector,
        "network": "$@network_def.to(@device)",
        "detector": {**detector["detector"], "network": "@network", "device": "@device"},
        "shape_model": "$lmk3d.training.learn_shape(@train#dataset#data, @names)" if plan.any_pose else None,
        "objective": {
            "_target_": "lmk3d.training.CascadeObjective",
            "network": "@network",
            "codec": "@codec",
            "spacings_mm": "$[level.spacing_mm for level in @levels]",
            "shape": "@shape_model",
            "missing": plan.missing,
        },
        "train": {
            "load": transforms["load"],
            "augment": transforms["augment"],
            "preprocessing": {"_target_": "Compose", "transforms": "$@train#load + @train#augment"},
            "dataset": {
                "_target_": "CacheDataset",
                "data": "$lmk3d.training.datalist(@dataset, 'training', @phantoms.get('training', ()))",
                "transform": "@train#preprocessing",
                "progress": False,
            },
            "sampler": {
                "_target_": "torch.utils.data.RandomSampler",
                "data_source": "@train#dataset",
                "num_samples": f"${plan.repeats} * len(@train#dataset)",
            },
            "dataloader": {
                "_target_": "DataLoader",
                "dataset": "@train#dataset",
                "batch_size": plan.batch_size,
                "sampler": "@train#sampler",
                "drop_last": True,
                "num_workers": 0,
            },
            "optimizer": {
                "_target_": "torch.optim.AdamW",
                "params": "$@network.parameters()",
                "lr": "@learning_rate",
                "weight_decay": 0.01,
            },
            "lr_scheduler": {
                "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
                "optimizer": "@train#optimizer",
                "T_max": "@epochs",
                "eta_min": "$@learning_rate / 100",
            },
            "resume": {
                "_target_": "lmk3d.training.Resume",
                "folder": "@ckpt_dir",
                "save": {"network": "@network", "optimizer": "@train#optimizer", "lr_scheduler": "@train#lr_scheduler"},
                "transform": "@train#preprocessing",
                "evaluator": "@validate#evaluator",
                "interval": "@validate_every",
                "seed": "@seed",
            },
            "handlers": [
                {"_target_": "lmk3d.training.ClipGradients", "max_norm": 5.0},
                {"_target_": "LrScheduleHandler", "lr_scheduler": "@train#lr_scheduler", "print_lr": False},
                {"_target_": "ValidationHandler", "validator": "@validate#evaluator", "interval": "@validate_every"},
                "@train#resume",
                {"_target_": "lmk3d.training.ProgressLine", "evaluator": "@validate#evaluator"},
                {
                    "_target_": "TensorBoardStatsHandler",
                    "log_dir": "$@bundle_root + '/eval'",
                    "tag_name": "train_loss",
                    "output_transform": "$lambda output: output['loss']",
                },
            ],
            "trainer": {
                "_target_": "SupervisedTrainer",
                "max_epochs": "@epochs",
                "device": "@device",
                "train_data_loader": "@train#dataloader",
                "prepare_batch": "$lmk3d.training.prepare_batch",
                "network": "@objective",
                "loss_function": "$lmk3d.training.total_loss",
                "optimizer": "@train#optimizer",
                "train_handlers": "@train#handlers",
                "decollate": False,
                "amp": "@amp",
            },
        },
        "validate": {
            "dataset": {
                "_target_": "CacheDataset",
                "data": "$lmk3d.training.datalist(@dataset, 'validation', @phantoms.get('validation', ()))",
                "transform": {"_target_": "lmk3d.transforms.LoadCased", "names": "@names"},
                "progress": False,
            },
            "dataloader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 1, "num_workers": 0},
            "handlers": [
                {
                    "_target_": "TensorBoardStatsHandler",
                    "log_dir": "$@bundle_root + '/eval'",
                    "iteration_log": False,
                    "global_epoch_transform": "$lambda epoch: epoch",
                }
            ],
            "evaluator": {
                "_target_": "lmk3d.training.DetectorEvaluator",
                "val_data_loader": "@validate#dataloader",
                "detector": "@detector",
                "device": "@device",
                "val_handlers": "@validate#handlers",
            },
        },
        "run": ["$@train#trainer.run()"],
        "training": ["$@train#trainer.run()"],
    }


def bundle_files(plan: Plan) -> dict[str, dict[str, Any]]:
    """The bundle's configurations by file name."""
    return {
        "train.json": _train_config(plan),
        "inference.json": _detector(plan),
    }


def write_bundle(folder: Path, plan: Plan) -> None:
    """Write a bundle's files; nothing stands half-written."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in bundle_files(plan).items():
        with atomic_path(folder / name) as path:
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def train_dataset(
    dataset: Path,
    output: Path,
    *,
    budget_s: float | None = None,
    device: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> None:
    """Write a bundle for a data set, train it and evaluate it; a folder that holds one already is trained on.

    Args:
        dataset: the data set's JSON.
        output: folder of the bundle; its train.json, once there, is taken as it stands, edits included.
        budget_s: bound of the whole run in seconds; the number of epochs is chosen to fit.
        device: "cpu", "cuda", ...; the first GPU where there is one when None.
        overrides: values of train.json by id, such as {"epochs": 50}.
    Raises:
        InputError: if the data set has problems, or the budget is too short for a single epoch.
    """
    begun = time.monotonic()
    if not (output / "train.json").is_file():
        result = check_dataset(dataset)
        if result.problems:
            more = f" (and {len(result.problems) - 1} more)" if len(result.problems) > 1 else ""
            raise InputError(f"{dataset}: {result.problems[0]}{more}; `lmk3d check {dataset}` lists them all")
        print(result.fingerprint.table(), flush=True)
        write_bundle(output, plan_for(read_dataset(dataset), dataset, result.fingerprint))
        print(f"wrote {output / 'train.json'}: every setting stands there", flush=True)
    changes = {"bundle_root": str(output.resolve()), "dataset": str(dataset.resolve()), **(overrides or {})}
    if device is not None:
        changes["device"] = f"$torch.device('{device}')"
    if budget_s is not None and not (output / "models" / "last.pt").is_file():
        changes["epochs"] = _epochs_within(output, changes, budget_s - (time.monotonic() - begun))
        _store(output / "train.json", {"epochs": changes["epochs"]})
    trainer = _parsed(output, changes).get_parsed_content("train#trainer")
    if budget_s is not None:
        KeepWithin(0.95 * budget_s - (time.monotonic() - begun)).attach(trainer)
    trainer.run()
    evaluate(output, dataset, output / "evaluation", section="validation")


def _parsed(folder: Path, changes: Mapping[str, Any]) -> ConfigParser:
    """train.json with some values changed, ready to build from."""
    parser = ConfigParser()
    parser.read_config(str(folder / "train.json"))
    for name, value in changes.items():
        if name.split("#")[0] not in parser.get():
            near = get_close_matches(name, parser.get(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{folder / 'train.json'}: it has no {name!r}{hint}")
        parser[name] = value
    return parser


def _epochs_within(folder: Path, changes: Mapping[str, Any], seconds: float) -> int:
    """How many epochs fit into the time, found by timing a few steps and one validation case."""
    parser = _parsed(folder, changes)
    loader, objective = parser.get_parsed_content("train#dataloader"), parser.get_parsed_content("objective")
    cases, detector = parser.get_parsed_content("validate#dataset"), parser.get_parsed_content("detector")
    device = parser.get_parsed_content("device")
    marks = [time.monotonic()]
    for batch in islice(loader, 5):
        total_loss(objective(prepare_batch(batch, device)[0])).backward()
        marks.append(time.monotonic())
    step = float(np.median(np.diff(marks)[1:])) if len(marks) > 2 else marks[-1] - marks[0]
    begun = time.monotonic()
    detector.detect(Volume(cases[0]["image"][0].numpy(), Grid.of(cases[0]["image"])))
    validation = (time.monotonic() - begun) * len(cases)
    epoch = step * len(loader) + validation / parser["validate_every"]
    epochs = int((0.9 * seconds - (begun - marks[0]) - 2 * validation) / epoch)
    if epochs < 1:
        raise InputError(f"--budget: {seconds:.0f} s are too few, one epoch takes {epoch:.0f} s here; give more time")
    print(f"{step:.2f} s a step, {epoch:.1f} s an epoch: {epochs} epochs fit into the budget", flush=True)
    return epochs


def _store(path: Path, values: Mapping[str, Any]) -> None:
    """Set values of a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({**content, **values}, indent=2) + "\n", encoding="utf-8")
