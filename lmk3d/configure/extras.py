"""What a bundle holds beside its training: several processes, the paper's own settings, the metadata MONAI asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmk3d.landmarks import channel_def

if TYPE_CHECKING:
    from lmk3d.configure.plan import Plan

__all__ = ["metadata", "multi_gpu", "paper_overrides"]

Config = dict[str, Any]

_MULTI_GPU: Config = {
    "device": "$torch.device(f'cuda:{os.environ[\"LOCAL_RANK\"]}' if torch.cuda.is_available() else 'cpu')",
    "train#sampler": {"_target_": "DistributedSampler", "dataset": "@train#dataset", "shuffle": True},
    "train#trainer#network": {
        "_target_": "torch.nn.parallel.DistributedDataParallel",
        "module": "$@objective.to(@device)",
        "find_unused_parameters": True,
    },
    "initialize": [
        "$@lock",
        "$monai.utils.set_determinism(@seed, use_deterministic_algorithms=None)",
        "$torch.distributed.init_process_group('nccl' if torch.cuda.is_available() else 'gloo')",
        "$torch.cuda.set_device(@device) if torch.cuda.is_available() else None",
    ],
    "finalize": ["$torch.distributed.destroy_process_group()"],
}


def multi_gpu(train: Config) -> Config:
    """What makes train.json that of one of several processes, to go on top of it; the first one writes the curves."""
    curves = {
        f"{part}#handlers#{row}#_disabled_": "$int(os.environ['RANK']) > 0"
        for part in ("train", "validate")
        for row, handler in enumerate(train[part]["handlers"])
        if handler["_target_"] == "TensorBoardStatsHandler"
    }
    return {**_MULTI_GPU, **curves}


def paper_overrides(plan: Plan) -> Config:  # long: one file of JSON, read from top to bottom
    """The paper's settings, to go on top of train.json, all but how long it trains: 11,250 and 45,000 steps there.

    Source:
        Tan et al. 2020: 0.4 mm voxels padded to 512^3 and downsampled 4 times, a background channel, exponential
        weights, three side losses, one displacement network a landmark on 64^3 patches, Adam 1e-3, batches of 4, no
        augmentation. Widths, sigma and the range of the random offsets are not in the paper, which has no films: over
        these the plan's own spacings stay.
    """
    names, sides = len(plan.names), list(plan.sides) if plan.flat else [128, 128, 128]
    spacing, fine, offset = 1.6, 0.4, 2.0
    if plan.flat:
        spacing, fine, offset = plan.spacing_mm, plan.levels[-1].spacing_mm, plan.levels[-1].offset_mm
    heatmap: Config = {
        "_target_": "lmk3d.networks.HeatmapUNet",
        "num_outputs": names + 1,
        "channels": [16, 32, 64, 128],
        "norm": "none",
        "num_sides": 3,
    }
    refiner: Config = {"_target_": "lmk3d.networks.RegressionRefiner", "num_landmarks": names, "patch_size": 64}
    return {
        "spacing_mm": spacing,
        "sides": sides,
        "learning_rate": 1e-3,
        "codec": {
            "_target_": "lmk3d.codecs.HeatmapCodec",
            "sigma_vox": 1.5,
            "background": True,
            "num_peaks": 1,
            "decode_radius": 0,
        },
        "levels": [{"_target_": "lmk3d.inference.Level", "spacing_mm": fine, "size": 64}],
        "network_def": {
            "_target_": "lmk3d.networks.Cascade",
            "heatmap": flattened(heatmap, "FlatDepth") if plan.flat else heatmap,
            "refiners": [flattened(refiner, "FlatPatches") if plan.flat else refiner],
            "num_landmarks": names,
        },
        "shape_model": None,
        **({"objective#tree": None} if plan.tree else {}),
        **({"objective#places": None} if plan.places else {}),
        **({"objective#patch_sigma_vox": None} if plan.patch_sigmas is not None else {}),
        "objective#side_weights": [0.3, 0.6, 0.9],
        "detector#pose": "world",
        "detector#min_presence": 0.0,
        "train#augment": [
            {
                "_target_": "lmk3d.transforms.RandPosed",
                "keys": "coarse",
                "sides": "@sides",
                "spacing_mm": "@spacing_mm",
            },
            {"_target_": "lmk3d.transforms.PosedImaged", "keys": "coarse", "window": "@window"},
            {"_target_": "lmk3d.transforms.EncodePointsd", "keys": "label"},
            {
                "_target_": "lmk3d.transforms.RandPatchesd",
                "keys": "image",
                "window": "@window",
                "level": 0,
                "spacing_mm": fine,
                "size": 64,
                "offset_mm": offset,
                "count": 4,
                "max_angle": 0.0,
                "zoom": 0.0,
            },
            {"_target_": "SelectItemsd", "keys": ["input", "points_vox", "patches0", "numbers0", "moves0"]},
        ],
        "train#dataloader#batch_size": 4,
        "train#optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": "@learning_rate"},
        "train#lr_scheduler": {
            "_target_": "torch.optim.lr_scheduler.ConstantLR",
            "optimizer": "@train#optimizer",
            "factor": 1.0,
        },
    }


def flattened(network: Config, adapter: str) -> Config:
    """The 2D form of a network for films, in the adapter of ``lmk3d.networks.blocks`` that gives it a depth of one."""
    return {"_target_": f"lmk3d.networks.blocks.{adapter}", "network": {**network, "spatial_dims": 2}}


def _knowledge(plan: Plan) -> dict[str, str]:
    """What the weights have seen, and a warning where these were no images of patients."""
    if plan.dataset:
        return {"data_source": f"the data set {plan.name}"}
    kind, real = ("phantoms of radiographs", "radiographs") if plan.flat else ("CTA phantoms", "scans")
    return {
        "data_source": "phantoms that lmk3d.synthetic draws",
        "warning": f"trained on {kind} alone: its points on real {real} are mostly wrong",
    }


def metadata(plan: Plan) -> Config:  # long: one file of JSON, read from top to bottom
    """metadata.json, as MONAI's schema has it."""
    channels = 3 * len(plan.structures) if plan.method == "denseseg" else len(plan.names)
    image = {"type": "image", "num_channels": 1, "spatial_shape": list(plan.sides), "dtype": "float32"}
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": "0.1.0",
        "changelog": {"0.1.0": "first version"},
        "monai_version": "1.6.1",
        "pytorch_version": "2.13.0",
        "numpy_version": "2.3.5",
        "required_packages_version": {"lmk3d": "0.1.0"},
        "supported_apps": {},
        "name": plan.name,
        "task": "anatomical landmark detection",
        "method": plan.method,
        "description": plan.description,
        "authors": "The lmk3d developers",
        "copyright": "The lmk3d developers, Apache-2.0",
        "intended_use": "research; not a medical device",
        **_knowledge(plan),
        "data_type": "film" if plan.flat else "volume",
        "references": [],
        "network_data_format": {
            "inputs": {
                "image": {
                    **image,
                    "format": "magnitude",
                    "modality": "any",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    **image,
                    "format": "heatmaps",
                    "modality": "n/a",
                    "num_channels": channels,
                    "spatial_shape": [max(1, side // plan.stride) for side in plan.sides],
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": channel_def(plan.names),
                }
            },
        },
    }
