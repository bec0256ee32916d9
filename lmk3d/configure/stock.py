"""The part of inference.json that MONAI's own programs read: ``monai.bundle run`` and MONAI Label's monaibundle app."""

from __future__ import annotations

from typing import Any

__all__ = ["STOCK_INFERENCE"]

STOCK_INFERENCE: dict[str, Any] = {
    "imports": [
        "$import pathlib",
        "$import torch",
        "$import lmk3d",
        "$import lmk3d.label.stock",
        "$import lmk3d.training",
        "$import lmk3d.weights",
    ],
    "initialize": ["$lmk3d.training.one_line_errors()"],
    "bundle_root": "$lmk3d.training.bundle_root()",
    "image": "",
    "output_dir": ".",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image", "reader": "ITKReader"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "lmk3d.label.stock.CheckReadingd", "keys": "image"},
        ],
    },
    "inferer": {"_target_": "lmk3d.label.stock.LandmarkInferer", "detector": "@detector"},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "lmk3d.label.stock.LandmarksToLabelMapd", "keys": "pred", "names": "@names"}],
    },
    "network": "$@network_def.to(@device)",
    "dataset": {
        "_target_": "Dataset",
        "data": "$lmk3d.label.stock.image_list(@image)",
        "transform": "@preprocessing",
    },
    "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
    "handlers": [{"_target_": "lmk3d.label.stock.SavePoints", "output_dir": "@output_dir"}],
    "evaluator": {
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
        "val_handlers": "@handlers",
    },
    "run": [
        "$lmk3d.weights.load_weights(@network, pathlib.Path(@bundle_root) / 'models' / 'model.pt')",
        "$@evaluator.run()",
    ],
    "evaluating": ["$@run"],
}
"""Stands before the entries of the detector, which it refers to, and which alone ``lmk3d predict`` reads."""
