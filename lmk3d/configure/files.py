"""A plan as the files of a bundle: every number stands in their JSON under its own name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lmk3d.configure.augmentation import augmentation, listed
from lmk3d.configure.extras import flattened, metadata, multi_gpu, paper_overrides
from lmk3d.configure.methods import method_of, targets
from lmk3d.configure.stock import STOCK_INFERENCE
from lmk3d.errors import InputError
from lmk3d.io import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

    from lmk3d.configure.methods import Method
    from lmk3d.configure.plan import LevelPlan, Plan

__all__ = ["bundle_files", "write_bundle"]

Config = dict[str, Any]

# A training of fewer epochs than lie between two validations is validated at its end.
_EVERY = "$min(@validate_every, @train#trainer#max_epochs)"
_SEEDS = "$monai.utils.set_determinism(@seed, use_deterministic_algorithms=None)"

_CALIBRATE = (
    "$lmk3d.training.calibrate(@detector, @train#dataset#data, @validate#dataset#data, @ckpt_dir + '/model.pt')"
)

_EVALUATE: Config = {
    "initialize": ["$lmk3d.training.one_line_errors()", _SEEDS],
    "run": [
        "$lmk3d.training.load_run(@network, @bundle_root)",
        "$@validate#evaluator.run()",
        "$print(@validate#evaluator.state.metrics)",
    ],
    "evaluating": "$@run",
}

# MONAI looks for this file beside the configuration; its own default writes twenty lines an epoch.
_LOGGING = """\
[loggers]
keys=root

[handlers]
keys=console

[formatters]
keys=plain

[logger_root]
level=WARNING
handlers=console

[handler_console]
class=StreamHandler
level=WARNING
formatter=plain
args=(sys.stdout,)

[formatter_plain]
format=%(asctime)s %(levelname)s %(name)s: %(message)s
"""


def bundle_files(plan: Plan) -> dict[str, Config]:
    """The bundle's configurations by file name; all but train.json and inference.json go on top of train.json.

    Raises:
        InputError: if the plan names a method that does not go with its images or landmarks.
    """
    train, inference, paper = _train_config(plan), {**STOCK_INFERENCE, **_detector(plan)}, {}
    if plan.method == "cascade":
        paper = paper_overrides(plan)
    else:
        method = method_of(plan)
        plan = replace(plan, levels=(), stride=method.stride)
        train = _train_as(method, _with_method(method, _train_config(plan), plan), plan)
        inference, paper = _with_method(method, {**STOCK_INFERENCE, **_detector(plan)}, plan), dict(method.paper)
        inference["report"] = dict(method.report)
    return {
        "train.json": train,
        "inference.json": inference,
        "evaluate.json": _EVALUATE,
        "multi_gpu_train.json": multi_gpu(train),
        # Weights of the paper's network are not those of the bundle's.
        "paper.json": {"bundle_root": "$lmk3d.training.run_folder('paper')", **paper},
        "metadata.json": metadata(plan),
    }


def _with_method(method: Method, config: Config, plan: Plan) -> Config:
    """A configuration with another first stage in it."""
    heatmap = (
        {"_target_": "lmk3d.networks.blocks.FlatDepth", "network": method.network} if plan.flat else method.network
    )
    return {**config, "codec": method.codec, "network_def": {**config["network_def"], "heatmap": heatmap}}


def _train_as(method: Method, config: Config, plan: Plan) -> Config:
    """train.json with the method's objective and targets."""
    if method.first:
        config["objective"] = {**config["objective"], "first": method.first}
    if method.laid:
        config["template"] = None
        config["objective"] = {**config["objective"], "template": "@template"}
    if method.template:
        config["shape_model"] = "$lmk3d.priors.learn_shape(@train#dataset#data, @names)"
    if method.dense:
        config["train"]["augment"] = [*config["train"]["augment"][:-1], *targets(dense=True)]
    if plan.instances > 1:
        for loader in (config["train"]["load"][0], config["validate"]["dataset"]["transform"]):
            loader["instances"] = plan.instances
    return config


def write_bundle(folder: Path, plan: Plan) -> None:
    """Write a bundle's files; nothing stands half-written.

    Raises:
        InputError: if the folder cannot be made or written to.
    """
    files = bundle_files(plan)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from error
    for name, content in files.items():
        with atomic_path(folder / name) as path:
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    with atomic_path(folder / "logging.conf") as path:
        path.write_text(_LOGGING, encoding="utf-8")


def _detector(plan: Plan) -> Config:
    """What prediction needs; the same ids stand in train.json and inference.json."""
    return {
        "names": list(plan.names),
        "spacing_mm": plan.spacing_mm,
        "sides": list(plan.sides),
        "window": {
            "_target_": "lmk3d.transforms.intensity.Window",
            "low": plan.low,
            "high": plan.high,
            "percentiles": plan.percentiles,
        },
        "codec": {
            "_target_": "lmk3d.codecs.HeatmapCodec",
            "sigma_vox": 1.0,
            "decode_radius": 2,
            # A larger scan shows more that looks alike: the tree then chooses among more peaks.
            **({"num_peaks": 8} if plan.windowed else {}),
        },
        "levels": [_level(level) for level in plan.levels],
        "network_def": _network(plan),
        "detector": {
            "_target_": "lmk3d.inference.LandmarkDetector",
            "network": "@network_def",
            "names": "@names",
            "window": "@window",
            "codec": "@codec",
            "spacing_mm": "@spacing_mm",
            "levels": "@levels",
            "pose": "any" if plan.any_pose else "world",
            "min_presence": plan.min_presence,
            "tolerance_mm": plan.tolerance_mm,
            "sides": "@sides",
            **({"windowed": True} if plan.windowed else {}),
            **({} if plan.side_px is None else {"side_px": plan.side_px}),
            "unit": plan.unit,
        },
    }


def _level(level: LevelPlan) -> Config:
    return {
        "_target_": "lmk3d.inference.Level",
        "spacing_mm": level.spacing_mm,
        "size": level.size,
        "passes": level.passes,
        **({} if level.share == 1 else {"share": listed(level.share)}),
        **({"steps": True} if level.steps else {}),
    }


def _network(plan: Plan) -> Config:
    heatmap = {
        "_target_": "lmk3d.networks.HeatmapUNet",
        "num_outputs": len(plan.names),
        "channels": list(plan.channels),
        "stride": plan.stride,
    }
    refiners = [
        {
            "_target_": "lmk3d.networks.HeatmapRefiner",
            "num_landmarks": (2 if level.steps else 1) * len(plan.names),
            "patch_size": level.size,
            "channels": list(level.channels),
            "max_move_vox": level.size / 2,
        }
        for level in plan.levels
    ]
    return {
        "_target_": "lmk3d.networks.Cascade",
        "heatmap": flattened(heatmap, "FlatDepth") if plan.flat else heatmap,
        "refiners": [flattened(one, "FlatPatches") for one in refiners] if plan.flat else refiners,
        "num_landmarks": len(plan.names),
        **({"tree": True} if plan.tree else {}),
        **({"places": True} if plan.places else {}),
        **({"steps": True} if any(level.steps for level in plan.levels) else {}),
    }


def _train_config(plan: Plan) -> Config:  # long: one file of JSON, read from top to bottom
    """train.json: MONAI's trainer over both stages."""
    detector = _detector(plan)
    return {
        "imports": [
            "$import os",
            "$import sys",
            "$import monai",
            "$import torch",
            "$import lmk3d",
            "$import lmk3d.inference",
            "$import lmk3d.priors",
            "$import lmk3d.training",
            "$import lmk3d.weights",
        ],
        # What draws its phantoms is a template: weights that it ships are not those of somebody's training.
        "bundle_root": "$lmk3d.training.bundle_root()" if plan.dataset else "$lmk3d.training.run_folder('training')",
        "ckpt_dir": "$@bundle_root + '/models'",
        "lock": "$lmk3d.training.begin_run(@bundle_root)",
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
        "weights": "",
        "network": "$lmk3d.weights.begun_with(@network_def, @weights).to(@device)",
        "detector": {**detector["detector"], "network": "@network", "device": "@device"},
        "shape_model": "$lmk3d.priors.learn_shape(@train#dataset#data, @names)" if plan.any_pose else None,
        **({"tree": _tree(plan)} if plan.tree else {}),
        "objective": {
            "_target_": "lmk3d.training.CascadeObjective",
            "network": "@network",
            "codec": "@codec",
            "spacings_mm": "$[level.spacing_mm for level in @levels]",
            "shape": "@shape_model",
            **({"tree": "@tree"} if plan.tree else {}),
            **({"places": "$lmk3d.priors.learn_places(@train#dataset#data, @names)"} if plan.places else {}),
            "missing": plan.missing,
            "bfloat16": "$lmk3d.weights.quick_bfloat16(@device)",
            **({} if plan.patch_sigmas is None else {"patch_sigma_vox": plan.patch_sigmas}),
        },
        "train": {**_samples(plan), **_steps(), "handlers": _handlers(plan), "trainer": _trainer()},
        "validate": _validation(plan),
        "initialize": ["$@lock", _SEEDS],
        "run": [
            *(f"$lmk3d.training.{do}(@train#trainer, @train#resume)" for do in ("run_training", "note_undertrained")),
            _CALIBRATE,
        ],
        "training": "$@run",
    }


def _samples(plan: Plan) -> Config:
    """Cases, loaded once; the random transforms that make a training sample of one; batches of them."""
    return {
        "load": [
            _load(plan),
            {"_target_": "lmk3d.transforms.BlockMeansd", "keys": "image", "spacing_mm": "@spacing_mm"},
        ],
        "augment": augmentation(plan),
        "preprocessing": {"_target_": "Compose", "transforms": "$@train#load + @train#augment"},
        "dataset": {
            "_target_": "CacheDataset",
            "data": "$lmk3d.training.datalist(@dataset, 'training', @phantoms.get('training', ()))",
            "transform": "@train#preprocessing",
            "progress": "$sys.stderr.isatty()",
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
            # MONAI Label begins with as few cases as there are, and an epoch of less than a batch would be none at all.
            "drop_last": "$len(@train#sampler) >= @train#dataloader#batch_size",
            "num_workers": 0,
        },
    }


def _tree(plan: Plan) -> str:
    films = f", films=True, side_px={plan.side_px}" if plan.flat else ""
    return f"$lmk3d.priors.learn_tree(@train#dataset#data, @names{films})"


def _steps() -> Config:
    """What a step of training changes, and what makes a killed run go on."""
    return {
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            "params": "$@network.parameters()",
            "lr": "@learning_rate",
            "weight_decay": 0.01,
        },
        "lr_scheduler": {
            "_target_": "torch.optim.lr_scheduler.LambdaLR",
            "optimizer": "@train#optimizer",
            "lr_lambda": "$lmk3d.training.cosine_decay(@train#trainer#max_epochs * len(@train#dataloader))",
        },
        "resume": {
            "_target_": "lmk3d.training.Resume",
            "folder": "@ckpt_dir",
            "save": {"network": "@network", "optimizer": "@train#optimizer", "lr_scheduler": "@train#lr_scheduler"},
            "transform": "@train#preprocessing",
            "evaluator": "@validate#evaluator",
            "interval": _EVERY,
            "seed": "@seed",
        },
    }


def _handlers(plan: Plan) -> list[Config]:
    return [
        {"_target_": "lmk3d.training.ClipGradients", "max_norm": 5.0},
        {
            "_target_": "LrScheduleHandler",
            "lr_scheduler": "@train#lr_scheduler",
            "print_lr": False,
            "epoch_level": False,
        },
        {"_target_": "ValidationHandler", "validator": "@validate#evaluator", "interval": _EVERY},
        # The bare reference would do, but MONAI Label's monaibundle app asks every entry here for its _target_.
        {"_target_": "typing.cast", "typ": "a handler", "val": "@train#resume"},
        {"_target_": "lmk3d.training.ProgressLine", "evaluator": "@validate#evaluator", "unit": plan.unit},
        {
            "_target_": "TensorBoardStatsHandler",
            "log_dir": "$@bundle_root + '/eval'",
            "tag_name": "train_loss",
            "output_transform": "$lambda output: output['loss']",
        },
    ]


def _trainer() -> Config:
    return {
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
    }


def _load(plan: Plan) -> Config:
    side = {} if plan.side_px is None else {"side_px": plan.side_px}
    return {"_target_": "lmk3d.transforms.LoadCased", "names": "@names", **side}


def _validation(plan: Plan) -> Config:
    return {
        "dataset": {
            "_target_": "CacheDataset",
            "data": "$lmk3d.training.datalist(@dataset, 'validation', @phantoms.get('validation', ()))",
            "transform": _load(plan),
            "progress": "$sys.stderr.isatty()",
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
            "miss_mm": plan.miss_mm,
            "val_handlers": "@validate#handlers",
        },
    }
