"""What a training computes: the objective of both stages, the evaluator in mm, the lists of its cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines import Evaluator, IterationEvents
from monai.transforms import SelectItemsd
from torch import nn
from torch.nn import functional

from lmk3d.codecs import DenseCodec, HeatmapCodec
from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.io import few_cases, read_dataset
from lmk3d.landmarks import Landmarks
from lmk3d.losses import displacement_loss, exponential_mse, patch_cross_entropy, spatial_cross_entropy
from lmk3d.metrics import compare
from lmk3d.terminal import counted, say
from lmk3d.training.checkpoints import rank
from lmk3d.transforms import RandPatchesd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ignite.engine import Engine
    from monai.transforms import Transform
    from numpy.typing import NDArray
    from torch import Tensor

    from lmk3d.codecs import LandmarkTree, ShapeModel, UsualPlaces
    from lmk3d.inference import LandmarkDetector
    from lmk3d.metrics import PointError
    from lmk3d.networks import Cascade
    from lmk3d.objectives import FirstObjective
    from lmk3d.transforms.registration import Template

    FloatArray = NDArray[np.float64]

__all__ = [
    "CascadeObjective",
    "ClipGradients",
    "DetectorEvaluator",
    "datalist",
    "first_stage_alone",
    "prepare_batch",
    "total_loss",
]


_OF_PATCHES = ("patches", "numbers", "moves")  # keys that ``RandPatchesd`` adds, each with its level


class CascadeObjective(nn.Module):
    """Both stages' losses on one batch; wrapped as a module so that one forward pass feeds several GPUs alike.

    Args:
        network: the cascade to train.
        codec: of the first stage. With its background channel the paper's exponentially weighted MSE is taken, on the
            output and on the side outputs; without it the spatial cross entropy.
        spacings_mm: patch spacing of each refiner.
        shape, tree, places: to keep with the weights; None where there is none.
        missing: what a landmark without a point means: "unknown" (nobody looked, so it does not count) or "absent" (it
            is not in the image, so its map must be empty). One outside the first stage's grid is absent in any case.
        side_weights: of the side outputs, deep to shallow.
        first: what another method asks of its first stage, instead of the two losses above.
        template: the image that all are laid over, to keep with the weights; its shape is the network's.
        patch_sigma_vox: train the refiners' heatmaps themselves, too, by the cross entropy with a Gaussian of this
            width in their voxels; None by their mean alone. A mean over a large patch learns slowly: every voxel of it
            pulls alike, and none is told that it is wrong. One for all refiners, or one for each.
        bfloat16: compute the convolutions in this half precision; see ``lmk3d.weights.quick_bfloat16``.
    Source:
        Tan et al. 2020, eq. 2 with side weights 0.3, 0.6, 0.9, and sec. 2.2 for the second stage.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of the bundle
        self,
        network: Cascade,
        *,
        codec: HeatmapCodec | DenseCodec,
        spacings_mm: Sequence[float],
        shape: ShapeModel | None = None,
        tree: LandmarkTree | None = None,
        places: UsualPlaces | None = None,
        missing: str = "unknown",
        side_weights: Sequence[float] = (),
        first: FirstObjective | None = None,
        template: Template | None = None,
        patch_sigma_vox: float | Sequence[float | None] | None = None,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        if missing not in ("unknown", "absent"):
            raise ValueError(f"missing must be 'unknown' or 'absent', got {missing!r}")
        if len(spacings_mm) != len(network.refiners):
            raise ValueError(f"spacings_mm must name {len(network.refiners)}, one a refiner, got {len(spacings_mm)}")
        self.network, self.codec, self.spacings_mm = network, codec, tuple(spacings_mm)
        self.missing, self.side_weights, self.first = missing, tuple(side_weights), first
        if not isinstance(patch_sigma_vox, Sequence):
            patch_sigma_vox = [patch_sigma_vox] * len(self.spacings_mm)
        self.patch_sigmas_vox = tuple(patch_sigma_vox)
        self.quick = bfloat16
        network.keep(shape=shape, template=template, tree=tree, places=places)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch of the transforms' dicts to the losses by name: "heatmap" and "refined 1", ... .

        In nats for maps without a background channel, and distances in patch voxels with a likelihood in nats; in mm
        with one, as the paper has it. A refiner that gets no patches has no loss.
        """
        if not self.quick:
            return self._losses(batch)
        with torch.autocast(self.network.mean_shape.device.type, dtype=torch.bfloat16):
            return self._losses(batch)

    def _losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        if "input" in batch and self.first is not None:
            losses |= self.first(self.network.heatmap, batch)
        elif "input" in batch:
            losses["heatmap"] = self._heatmap_loss(batch["input"], batch["points_vox"])
        for level, (refiner, spacing) in enumerate(zip(self.network.refiners, self.spacings_mm, strict=True)):
            if f"patches{level}" not in batch:
                continue
            patches = batch[f"patches{level}"].flatten(0, 1)[:, None]
            numbers, truth = batch[f"numbers{level}"].flatten(), batch[f"moves{level}"].flatten(0, 1)
            if (sigma := self.patch_sigmas_vox[level]) is None:
                moves, log_variance = refiner(patches, numbers)
            else:
                moves, log_variance, logits = refiner.with_heat(patches, numbers)  # type: ignore[operator]
                losses[f"heat {level + 1}"] = patch_cross_entropy(logits, truth, sigma)
            losses[f"refined {level + 1}"] = (
                displacement_loss(moves * spacing, truth * spacing)
                if self._plain
                else displacement_loss(moves, truth, log_variance)
            )
        return losses

    @property
    def _plain(self) -> bool:
        """Whether the refiners learn the paper's plain distance."""
        return isinstance(self.codec, HeatmapCodec) and self.codec.background

    def _heatmap_loss(self, image: Tensor, points_vox: Tensor) -> Tensor:
        if isinstance(self.codec, DenseCodec) or (self.codec.heights and not self.codec.background):
            raise ValueError("the cascade's own losses need a softmax or a background channel; give first")
        if not self.codec.background:
            known = None if self.missing == "absent" else ~points_vox.isnan().any(-1)
            return spatial_cross_entropy(self.network(image), points_vox, self.codec.sigma_vox, known=known)
        outputs: list[Tensor] = self.network.heatmap.with_sides(image)  # type: ignore[operator]
        if len(self.side_weights) != len(outputs) - 1:
            raise ValueError(f"side_weights must name {len(outputs) - 1}, one a side, got {len(self.side_weights)}")
        i, j, k = shape = outputs[-1].shape[2:]
        target = torch.stack([self.codec.draw(points, (i, j, k)) for points in points_vox])
        loss = exponential_mse(outputs[-1], target)
        for weight, side in zip(self.side_weights, outputs[:-1], strict=True):
            grown = functional.interpolate(side, size=shape, mode="trilinear", align_corners=False)
            loss = loss + weight * exponential_mse(grown, target)
        return loss


def prepare_batch(
    batch: Mapping[str, Any],
    device: torch.device | str | None = None,
    non_blocking: bool = False,  # noqa: FBT001, FBT002 - the trainer calls it so
    **kwargs: Any,
) -> tuple[dict[str, Tensor], None]:
    """The tensors of a batch on the device, as the trainer hands them to ``CascadeObjective``."""
    plain = {key: value.as_tensor() if isinstance(value, MetaTensor) else value for key, value in batch.items()}
    tensors = {key: value for key, value in plain.items() if isinstance(value, torch.Tensor)}
    return {key: value.to(device, non_blocking=non_blocking, **kwargs) for key, value in tensors.items()}, None


def first_stage_alone(transforms: Sequence[Transform]) -> list[Transform]:
    """Of a training's transforms those of the first stage: the refiners get no patches, cost nothing and learn nothing.

    Args:
        transforms: those of a bundle's train.json, loading and augmentation.
    """
    kept: list[Transform] = []
    for transform in transforms:
        keys = [str(key) for key in getattr(transform, "keys", ())]
        if isinstance(transform, SelectItemsd):
            kept.append(SelectItemsd([key for key in keys if not key.startswith(_OF_PATCHES)]))
        elif not (isinstance(transform, RandPatchesd) or any(key.startswith(_OF_PATCHES) for key in keys)):
            kept.append(transform)
    return kept


def total_loss(losses: Mapping[str, Tensor], targets: None = None) -> Tensor:
    """Their sum: both stages learn from every batch, and no weight of one is a weight of the other."""
    return torch.stack(list(losses.values())).sum()


def datalist(dataset: str, section: str, phantoms: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Cases as MONAI's data lists have them: {"image": ..., "label": ...}.

    Args:
        dataset: path of a data set's JSON; with "" the phantoms are taken, so that a bundle trains without any data.
        section: "training", "validation" or "test"; see ``Dataset.with_validation``.
        phantoms: arguments of ``lmk3d.synthetic.cta_phantom``, or with a "kind" of ``film_phantom``, one mapping for
            each.
    """
    if not dataset:
        drawn = counted(len(phantoms), "phantom")
        say(f"no data set given: {section} on {drawn}; set --dataset to train on your own")
        return [{"image": dict(phantom), "label": ""} for phantom in phantoms]
    known = read_dataset(Path(dataset)).with_validation()
    cases = [case for case in known.cases(section) if case.points is not None]
    if not rank():
        say(f"loading {counted(len(cases), f'{section} case')}")
        if section == "training" and (note := few_cases(len(cases))):
            say(f"note: {note}")
    hints = [{"series": case.series, "spacing_mm": case.spacing_mm, "patient": case.patient} for case in cases]
    return [
        {"image": str(case.image), "label": str(case.points), **{key: value for key, value in hint.items() if value}}
        for case, hint in zip(cases, hints, strict=True)
    ]


class DetectorEvaluator(Evaluator):
    """Runs the whole detector over volumes and measures it in mm, over films without a spacing in px.

    After a run ``state.metrics`` holds "mean_error_mm" (a missed landmark counts with the miss penalty, so that silence
    is never the best answer), "median_error_mm", "within_2mm" and, for each stage, "mean_error_mm <stage>", all NaN
    where no case has a point, and "mean_dice" where the detector outlines structures. It also sets the network's
    ``error_ratio``, which turns claimed into expected errors; NaN, and none are expected, where most landmarks were
    missed.

    Args:
        val_data_loader: batches of one case: "image" (1, 1, I, J, K) of the stored type with its affine, "label"
            (1, N, 3) world mm, or (1, N, M, 3) where a landmark has up to M instances.
        detector: what to measure.
        miss_mm: error of a landmark that is there and was not found, of an instance too many, and the most that any
            error counts: a point at the other end of the patient is a miss, not ten of them.
        device: for the engine.
    """

    def __init__(
        self,
        val_data_loader: Any,
        detector: LandmarkDetector,
        *,
        miss_mm: float = 20.0,
        device: str = "cpu",
        **kwargs: Any,
    ) -> None:
        super().__init__(device=torch.device(device), val_data_loader=val_data_loader, **kwargs)
        self.detector, self.miss_mm = detector, miss_mm
        self.errors: dict[str, list[FloatArray]] = {}
        self.scales: list[FloatArray] = []
        self.overlaps: list[float] = []
        self._known: dict[str, Any] | None = None
        self.add_event_handler(Events.EPOCH_STARTED, self._forget)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._summarize)
        self.add_event_handler(Events.TERMINATE, self._summarize)  # of the cases so far

    def _forget(self) -> None:
        known, self._known = self._known or {"errors": {}, "scales": [], "overlaps": []}, None
        self.errors = {stage: [case.numpy() for case in cases] for stage, cases in known["errors"].items()}
        self.scales, self.overlaps = [case.numpy() for case in known["scales"]], list(known["overlaps"])

    def partial(self) -> dict[str, Any]:
        """What is known of the cases so far, as tensors and numbers for a checkpoint."""
        errors = {stage: [torch.as_tensor(case) for case in cases] for stage, cases in self.errors.items()}
        scales = [torch.as_tensor(case) for case in self.scales]
        return {"errors": errors, "scales": scales, "overlaps": [float(one) for one in self.overlaps]}

    def recall(self, known: dict[str, Any]) -> None:
        """Let the next run begin with what ``partial`` knew; it detects in the other cases alone."""
        self._known = known

    def _iteration(self, engine: Engine, batch: Mapping[str, Any]) -> dict[str, Any]:
        if engine.state.iteration <= len(self.scales):
            return {}  # an earlier run has measured this case
        image = batch["image"]
        grid = Grid(tuple(image.shape[2:]), np.asarray(image.affine.reshape(-1, 4, 4)[0]))
        points = np.asarray(batch["label"])[0]
        each = points.shape[1] if points.ndim == 3 else 1
        names = self.detector.names
        truth = Landmarks(tuple(name for name in names for _ in range(each)), points.reshape(-1, 3))
        volume = Volume(image[0, 0].numpy(), grid)
        ratio = self.detector.network.error_ratio
        calibrated = ratio.clone()
        stages = (ratio.fill_(1.0), self.detector.detect_stages(volume))[1]  # with what the network itself claims
        ratio.copy_(calibrated)
        for stage, found in stages.items():
            rows = compare(truth, found, names)
            self.errors.setdefault(stage, []).append(np.array([self._error(row, grid, each) for row in rows]))
        self.scales.append(np.array([row.expected_mm for row in rows]))
        self.overlaps += [own["dice"] for own in self.detector.compare_masks(volume, truth).values()]
        return {}

    def _error(self, row: PointError, grid: Grid, each: int) -> float:
        """What one row counts: a distance, a miss, or NaN where there is nothing to say."""
        if row.status == "found":
            return min(row.error_mm, self.miss_mm)
        # Where names are unique, nobody may have looked for what has no point; of several instances all are marked.
        wrong = row.status == "missed" and bool(grid.contains(row.truth_mm))
        return self.miss_mm if wrong or (row.status == "false" and each > 1) else float("nan")

    def _summarize(self) -> None:
        errors = {stage: np.concatenate(cases) for stage, cases in self.errors.items()}
        known = {stage: some[np.isfinite(some)] for stage, some in errors.items()}
        means = {stage: float(some.mean()) if len(some) else float("nan") for stage, some in known.items()}
        # A stage that some cases lack, such as "shape" where no pose fits, may have been noted first by a later case.
        last = [stage for stage, cases in self.errors.items() if len(cases) == len(self.scales)][-1]
        self.state.metrics = {
            "mean_error_mm": means[last],
            "median_error_mm": float(np.median(known[last])) if len(known[last]) else float("nan"),
            "within_2mm": float((known[last] <= 2).mean()) if len(known[last]) else float("nan"),
            **{f"mean_error_mm {stage}": mean for stage, mean in means.items()},
            **({"mean_dice": float(np.nanmean(self.overlaps))} if self.overlaps else {}),
        }
        network = self.detector.network
        if (tree := network.kept_tree()) is not None and network.has_steps:
            self._count_mistakes(network.mistakes, tree)
        claimed = np.concatenate(self.scales)
        both = np.isfinite(errors[last]) & np.isfinite(claimed) & (errors[last] < self.miss_mm)
        enough = both.any() and 2 * both.sum() >= len(known[last])  # the few that were met say nothing of the others
        network.error_ratio.fill_(errors[last][both].sum() / claimed[both].sum() if enough else torch.nan)

    def _count_mistakes(self, mistakes: Tensor, tree: LandmarkTree) -> None:
        """How often the first stage took another landmark for each: half of the shortest step off, or more."""
        first = self.errors["heatmap"]
        if all(len(case) == len(mistakes) for case in first):
            shortest = np.linalg.norm(tree.steps_mm[tree.parents >= 0], axis=1).min(initial=2 * self.miss_mm)
            far = np.ma.masked_invalid(np.stack(first)) >= shortest / 2  # no error counts more than a miss
            mistakes.copy_(torch.as_tensor(far.mean(0).filled(0.0)))


class ClipGradients:
    """Keep the gradient's norm under a bound, against the rare batch that throws a small network off."""

    def __init__(self, max_norm: float = 5.0) -> None:
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        if getattr(engine, "scaler", None) is not None:  # else it is the scaled gradients that are cut to size
            engine.scaler.unscale_(engine.optimizer)
        norm = nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_norm)
        # A scaler leaves such a step out and goes on with smaller gradients; without one the weights would be lost.
        if getattr(engine, "scaler", None) is None and not norm.isfinite():
            epoch = f"epoch {engine.state.epoch}"
            raise InputError(f"{epoch}: a gradient is NaN or infinite; lower learning_rate, or set bfloat16 to false")
