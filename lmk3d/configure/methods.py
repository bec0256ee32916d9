"""The published methods: what each puts in place of the cascade's first stage, and its paper's settings.

Everything else of a bundle (data, transforms, training loop, detector) is that of ``lmk3d.configure.files``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lmk3d.errors import InputError
from lmk3d.io.datasets import case_points

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lmk3d.configure.plan import Plan
    from lmk3d.io import Dataset

__all__ = ["METHODS", "Method", "method_of", "targets", "with_method"]

Config = dict[str, Any]

_MAPS = "lmk3d.objectives.MapObjective"


@dataclass(frozen=True)
class Method:
    """One published first stage.

    Args:
        network: its configuration, in two dimensions over films; ``spatial_dims`` goes with it.
        codec: of its maps.
        first: its objective.
        stride: its maps are this many times coarser than the image.
        template: it needs the mean shape of the training cases.
        dense: its targets are masks and uv maps, drawn by the data pipeline.
        laid: its paper lays images over a template, so that train.json names one, though none by default.
        paper: by id, what the paper sets; goes on top of train.json.
        report: what ``lmk3d evaluate`` shows unless told otherwise.
    """

    network: Config
    codec: Config
    first: Config
    stride: int = 1
    template: bool = False
    dense: bool = False
    laid: bool = False
    paper: Mapping[str, Any] = field(default_factory=dict)
    report: Config = field(default_factory=dict)


def method_of(plan: Plan) -> Method:
    """The method a plan names.

    Raises:
        InputError: if there is none of that name, or it does not go with the plan's images or landmarks.
    """
    if plan.method not in METHODS:
        raise InputError(f"no method is called {plan.method!r}; known are cascade, {', '.join(METHODS)}")
    if not plan.flat and plan.method not in _VOLUMES:
        raise InputError(f"{plan.method} is for films; volumes can be trained with cascade, {', '.join(_VOLUMES)}")
    return METHODS[plan.method](plan)


def with_method(plan: Plan, name: str, dataset: Dataset) -> Plan:
    """A data set's plan for another method than the cascade: no refiners, all instances, the data set's contours."""
    marked = [case_points(case).names for case in dataset.cases("training") if case.points is not None]
    most = max((names.count(one) for names in marked for one in set(names)), default=1)
    least = {"plain": plan.min_presence, "landmarknet": 0.3}.get(name, 0.0)  # of heights, which need not reach 1
    return replace(
        plan,
        method=name,
        levels=(),
        min_presence=least,
        structures=dataset.structures,
        instances=most if name == "landmarknet" else 1,
        missing="absent" if most > 1 else plan.missing,
        tree=(tree := plan.tree and name not in ("denseseg", "landmarknet")),
        places=plan.places and tree,
    )


def _heights(sigma_vox: float, **options: Any) -> Config:
    return {"_target_": "lmk3d.codecs.HeatmapCodec", "sigma_vox": sigma_vox, "reading": "heights", **options}


def _paper_heights(sigma_vox: float, **options: Any) -> Config:
    """As the papers read maps: the highest pixel."""
    return _heights(sigma_vox, num_peaks=1, decode_radius=0) | options


def _plain(plan: Plan) -> Method:
    """The U-Net of the cascade, alone."""
    network = {
        "_target_": "lmk3d.networks.HeatmapUNet",
        "num_outputs": len(plan.names),
        "channels": list(plan.channels),
        "stride": 2,
        "spatial_dims": plan.dims,
    }
    codec = {"_target_": "lmk3d.codecs.HeatmapCodec", "sigma_vox": 1.0, "decode_radius": 2}
    return Method(network, codec, {}, stride=2, report={"sdr_mm": [2.0, 2.5, 3.0, 4.0]})


def _spatial_configuration(plan: Plan) -> Method:
    network = {
        "_target_": "lmk3d.networks.SpatialConfigurationNet",
        "num_landmarks": len(plan.names),
        "channels": list(plan.channels),
        "width": 32,
        "kernel": 7,
        "stride": 2 ** (len(plan.channels) - 1),
        "local_stride": 2,
        "spatial_dims": plan.dims,
    }
    paper: Config = {
        "codec": _paper_heights(3.0),
        "network_def#heatmap#network#channels" if plan.flat else "network_def#heatmap#channels": [128] * 4,
        "network_def#heatmap#network#width" if plan.flat else "network_def#heatmap#width": 128,
        "network_def#heatmap#network#kernel" if plan.flat else "network_def#heatmap#kernel": 11,
    }
    if plan.flat:  # a volume's maps would be too large as fine as its image
        spacing = _spacing(plan, 512)
        paper |= {"network_def#heatmap#network#local_stride": 1, **_posed(plan, 512, spacing, {"max_angle": 0.2})}
    first = {"_target_": _MAPS, "codec": "@codec", "missing": plan.missing}
    return Method(network, _heights(1.5), first, stride=2, paper=paper, report={"sdr_mm": [2.0, 2.5, 3.0, 4.0]})


def _appearance_context(plan: Plan) -> Method:
    """Source: appearance-context network 2021; sigma 5, 512 x 512, +-2 degrees, +-10 pixels, 0.9 to 1.1, Adam 1e-4."""
    network = {
        "_target_": "lmk3d.networks.AppearanceContextNet",
        "num_landmarks": len(plan.names),
        "channels": list(plan.channels),
        "width": 64,
        "kernel": [3] * plan.dims,
        "stride": [8] * plan.dims,
        "local_stride": 2,
        "spatial_dims": plan.dims,
        "logits": True,
    }
    first = {"_target_": _MAPS, "codec": "@codec", "loss": "softmax", "missing": plan.missing}
    spacing, wide = _spacing(plan, 512), {"width": 128, "stride": [16] * plan.dims, "norm": "batch"}
    paper = {
        "codec": _paper_heights(5.0),
        "objective#first#loss": "mse",
        "network_def#heatmap": _flat(
            plan,
            {**network, "channels": [64, 128, 256, 512], **wide, "local_stride": 1, "logits": False},
        ),
        **_posed(
            plan, 512, spacing, {"max_angle": 0.035, "zoom": 0.1, "shift_mm": round(10 * spacing, 3)}, laid=plan.flat
        ),
        **_adam(1e-4),
    }
    if plan.flat:
        margin = round(0.1 * plan.spacing_mm * max(plan.sides), 3)
        paper |= {
            "template": "$lmk3d.priors.learn_template(@train#dataset#data, @names, "
            f"shape=[128, 128, 1], margin_mm={margin})",
            "network_def#template_shape": [128, 128, 1],
            "train#load": [
                {"_target_": "lmk3d.transforms.LoadCased", "names": "@names"},
                {"_target_": "lmk3d.transforms.BlockMeansd", "keys": "image", "spacing_mm": "@spacing_mm"},
                {"_target_": "lmk3d.transforms.LayOverd", "keys": "coarse", "template": "@template"},
            ],
        }
    codec = {"_target_": "lmk3d.codecs.HeatmapCodec", "sigma_vox": 1.0, "decode_radius": 2}
    return Method(network, codec, first, stride=2, laid=True, paper=paper, report={"sdr_mm": [2.0, 2.5, 3.0, 4.0]})


def _landmarknet(plan: Plan) -> Method:
    """Source: LandmarkNet 2020; films of 480 x 480 cut to 384 x 384, sigma 3, Adam 1e-4, batches of 18."""
    network: Config = {
        "_target_": "lmk3d.networks.LandmarkNet",
        "num_landmarks": len(plan.names),
        "widths": [32, 64, 96, 128],
        "depths": [2, 2, 2, 2],
        "lateral": 48,
        "level": 24,
        "stride": 2,
    }
    instances = {"instances": plan.instances, "num_peaks": plan.instances + 3, "separation": 4}
    first = {"_target_": _MAPS, "codec": "@codec", "missing": plan.missing, "side_weights": [0.25] * 4}
    spacing = _spacing(plan, 480)
    paper = {
        "codec": _paper_heights(3.0, instances=plan.instances, num_peaks=plan.instances + 3, separation=8),
        "network_def#heatmap": _flat(
            plan,
            {"_target_": "lmk3d.networks.LandmarkNet", "num_landmarks": len(plan.names), "norm": "batch"},
        ),
        "objective#first#side_weights": [1.0] * 4,
        **_posed(plan, 384, spacing, {"crop": True}),
        **_adam(1e-4),
        "epochs": 4000,
        "train#dataloader#batch_size": 18,
    }
    pixel = _spacing(plan, 384)
    report = {"sdr_mm": [round(count * pixel, 3) for count in (4, 6, 8, 10, 12)], "limit_mm": round(12 * pixel, 3)}
    return Method(network, _heights(1.5, **instances), first, stride=2, paper=paper, report=report)


def _heatmap_coordinate(plan: Plan) -> Method:
    """Source: heatmap x coordinate regression 2021; 512 x 512 and 299 x 299, sigma 1.2, Adam 1e-4, equalised."""
    network: Config = {
        "_target_": "lmk3d.networks.HeatmapCoordinateNet",
        "num_landmarks": len(plan.names),
        "channels": list(plan.channels),
        "stride": 2,
        "softmax": True,
    }
    log = {"_target_": "lmk3d.codecs.HeatmapCodec", "reading": "log"}
    first = {
        "_target_": "lmk3d.objectives.CoordinateObjective",
        "maps": {"_target_": _MAPS, "codec": "@codec", "loss": "softmax", "missing": plan.missing},
        "weight": 1.0,
    }
    spacing = _spacing(plan, 512)
    shift = [round(35 * spacing, 3), round(8 * spacing, 3), 0.0]  # columns run along the world's first axis
    paper = {
        "window": {"_target_": "lmk3d.transforms.intensity.EqualizedWindow"},
        "objective#first#maps#loss": "bce",
        "codec": {**log, "sigma_vox": 1.2, "num_peaks": 1, "decode_radius": 0},
        "network_def#heatmap": _flat(
            plan,
            {
                **network,
                "channels": [64, 128, 256, 512],
                "stride": 1,
                "softmax": False,
                "trunk": [128, 256, 728],
                "middle": 8,
                "trunk_size": [299, 299],
                "hidden": 1024,
                "widen": 1.0,
                "norm": "batch",
            },
        ),
        **_posed(plan, 512, spacing, {"max_angle": 0.436, "zoom": 0.35, "shift_mm": shift}),
        **_adam(1e-4),
    }
    codec = {"_target_": "lmk3d.codecs.HeatmapCodec", "sigma_vox": 1.0, "decode_radius": 2}
    return Method(network, codec, first, stride=2, paper=paper, report={"sdr_mm": [2.0, 4.0, 8.0]})


def _denseseg(plan: Plan) -> Method:
    """Source: DenseSeg 2024; 256 x 256, Adam 1e-3, 100 epochs to 1/100, batches of 8, 10 degrees, 0.1, 0.85 to 1.15."""
    if not plan.structures:
        raise InputError(
            'denseseg needs contours; list them in the data set under "structures": {"heart": ["h1", ...]}'
        )
    network: Config = {
        "_target_": "lmk3d.networks.DenseShapeNet",
        "num_structures": len(plan.structures),
        "channels": [24, 48, 64, 96, 128],
        "units": 1,
    }
    structures = {name: list(members) for name, members in plan.structures.items()}
    codec = {"_target_": "lmk3d.codecs.DenseCodec", "names": "@names", "structures": structures, "temperature": 0.02}
    first = {"_target_": "lmk3d.objectives.DenseObjective", "codec": "@codec", "mask": 0.13, "uv": 0.66, "smooth": 0.2}
    paper = {
        "codec": {**codec, "temperature": 1.0},
        "network_def#heatmap": _flat(plan, {**network, **_DENSE_WIDTHS}),
        **_dense_training(plan, dense=True),
    }
    return Method(network, codec, first, template=True, dense=True, paper=paper, report={"sdr_mm": [2.0, 4.0, 6.0]})


def _residual_heatmap(plan: Plan) -> Method:
    """DenseSeg's own baseline: heatmaps of the same U-Net, of height 44 and sigma 8; else as ``_denseseg``."""
    network: Config = {
        "_target_": "lmk3d.networks.ResidualHeatmapNet",
        "num_landmarks": len(plan.names),
        "channels": [24, 48, 64, 96, 128],
        "units": 1,
        "spatial_dims": plan.dims,
    }
    first = {"_target_": _MAPS, "codec": "@codec", "loss": "softmax", "missing": plan.missing}
    paper = {
        "codec": _paper_heights(8.0, peak=44.0),
        "objective#first#loss": "mse",
        "network_def#heatmap": _flat(plan, {**network, **_DENSE_WIDTHS}),
        **_dense_training(plan, dense=False),
    }
    codec = {"_target_": "lmk3d.codecs.HeatmapCodec", "sigma_vox": 1.0, "decode_radius": 2}
    return Method(network, codec, first, paper=paper, report={"sdr_mm": [2.0, 4.0, 6.0]})


_VOLUMES = ("plain", "spatial_configuration", "appearance_context")

METHODS = {
    "plain": _plain,
    "spatial_configuration": _spatial_configuration,
    "appearance_context": _appearance_context,
    "landmarknet": _landmarknet,
    "heatmap_coordinate": _heatmap_coordinate,
    "denseseg": _denseseg,
    "residual_heatmap": _residual_heatmap,
}
"""From a plan to what each method makes of it."""


def _spacing(plan: Plan, pixels: int) -> float:
    """The spacing at which the plan's grid has so many pixels along its longest side."""
    return round(plan.spacing_mm * max(plan.sides) / pixels, 4)


def _flat(plan: Plan, network: Config) -> Config:
    return {"_target_": "lmk3d.networks.blocks.FlatDepth", "network": network} if plan.flat else network


def _posed(
    plan: Plan, pixels: int, spacing_mm: float, pose: Config, *, dense: bool = False, laid: bool = False
) -> Config:
    """A paper's grid and augmentation instead of ours, and maps as fine as the image."""
    sides = [pixels] * plan.dims + [1] * (3 - plan.dims)
    drawn = {"_target_": "lmk3d.transforms.RandPosed", "keys": "coarse", "sides": "@sides", "spacing_mm": "@spacing_mm"}
    return {
        "spacing_mm": spacing_mm,
        "sides": sides,
        "train#augment": [
            {**drawn, **pose, **({"template": "@template"} if laid else {})},
            {"_target_": "lmk3d.transforms.PosedImaged", "keys": "coarse", "window": "@window"},
            {"_target_": "lmk3d.transforms.EncodePointsd", "keys": "label"},
            *targets(dense=dense),
        ],
    }


def targets(*, dense: bool) -> list[Config]:
    """What the data pipeline hands to a first stage, and what it draws for it."""
    if not dense:
        return [{"_target_": "SelectItemsd", "keys": ["input", "points_vox"]}]
    encode = {
        "_target_": "lmk3d.transforms.EncodeDensed",
        "keys": "points_vox",
        "codec": "@codec",
        "shape": "@shape_model",
    }
    return [encode, {"_target_": "SelectItemsd", "keys": ["input", "points_vox", "target", "template_uv"]}]


_DENSE_WIDTHS: Config = {"channels": [64, 128, 256, 512], "units": 2, "norm": "batch"}


def _dense_training(plan: Plan, *, dense: bool) -> Config:
    """How the DenseSeg paper trains its network and the one it compares with."""
    spacing = _spacing(plan, 256)
    pose = {"max_angle": 0.175, "zoom": 0.16, "shift_mm": round(25.6 * spacing, 3)}
    return {
        **_posed(plan, 256, spacing, pose, dense=dense),
        **_adam(1e-3, cosine=True),
        "epochs": 100,
        "train#dataloader#batch_size": 8,
    }


def _adam(rate: float, *, cosine: bool = False) -> Config:
    still = {
        "_target_": "torch.optim.lr_scheduler.ConstantLR",
        "optimizer": "@train#optimizer",
        "factor": 1.0,
    }
    return {
        "learning_rate": rate,
        "train#optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": "@learning_rate"},
        **({} if cosine else {"train#lr_scheduler": still}),
    }
