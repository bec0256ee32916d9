"""Bone age of a hand from the outlines of its bones: train an ensemble on points with known ages, and read others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from lmk3d.apps.films import blank_film, check_film, refuse_untrusted
from lmk3d.errors import InputError
from lmk3d.geometry import LPS_TO_RAS, apply_affine
from lmk3d.io import atomic_path
from lmk3d.networks import BoneAgeEnsemble
from lmk3d.plots.sheet import FAINT, LETTER, TEXT
from lmk3d.plots.tracing import Mark, Row, Stroke, tracing
from lmk3d.terminal import counted
from lmk3d.training import Resume, prepare_batch, total_loss

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from lmk3d.geometry import Volume
    from lmk3d.landmarks import Landmarks

    FloatArray = NDArray[np.float64]

__all__ = ["AgeReading", "AgeScores", "BoneAgeModel", "age_picture", "age_scores", "train_bone_age"]

_BATCH = 32
# How far a hand may be smaller or larger than all of the training before it is taken for one in another unit.
_SIZE_RANGE = 1.5


@dataclass(frozen=True, eq=False)
class AgeReading:
    """The bone age of one hand.

    Args:
        months: mean of the classes' middles, weighted by their probabilities.
        spread_months: standard deviation of the ensemble's members about that.
        likeliest_months: middle of the likeliest class.
        chances: (C,) probability of each class, the members' mean.
        bucket_months: width of a class.
    """

    months: float
    spread_months: float
    likeliest_months: float
    chances: FloatArray
    bucket_months: float

    def as_dict(self) -> dict[str, Any]:
        """What a JSON file says of it."""
        return {
            "bone_age_months": self.months,
            "ensemble_spread_months": self.spread_months,
            "likeliest_months": self.likeliest_months,
            "bucket_months": self.bucket_months,
            "chances": self.chances.tolist(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """The line of a table."""
        return [{key: value for key, value in self.as_dict().items() if key not in ("chances", "bucket_months")}]


@dataclass(frozen=True, eq=False)
class _Hands:
    """What the training hands were like, to refuse others.

    Args:
        names: of the points, those of a bone together.
        unit: "mm" or "px".
        mean: (P, 2) mean shape, centred and scaled to 1: tells a mirrored hand.
        size: smallest and largest root mean square distance of a hand's points from their middle.
        needed: bones that no training hand lacked.
    """

    names: tuple[str, ...]
    unit: str
    mean: FloatArray
    size: tuple[float, float]
    needed: tuple[str, ...]

    @property
    def bones(self) -> dict[str, list[int]]:
        """Rows of each bone's points."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            rows.setdefault(_bone(name), []).append(row)
        return rows

    @classmethod
    def of(cls, hands: Sequence[Landmarks]) -> _Hands:
        names = tuple(sorted(hands[0].names, key=_bone))  # stable: a bone's points keep their order
        units = {hand.unit for hand in hands}
        if len(units) > 1:
            raise InputError("some hands are in mm and some in px; bring all to one unit")
        shapes = np.stack([_points(hand, names) for hand in hands])
        there = np.isfinite(shapes[..., 0])
        if not there.any(1).all():
            raise InputError(f"hand {int(there.any(1).argmin()) + 1} has none of the points; leave it out")
        if not there.any(0).all():
            raise InputError(f"no hand has {_bone(names[there.any(0).argmin()])}; leave its points out")
        centred = shapes - np.nanmean(shapes, axis=1, keepdims=True)
        sizes = np.sqrt(np.nanmean((centred**2).sum(2), axis=1))
        mean = np.nanmean(centred / sizes[:, None, None], axis=0)
        own = cls(names, units.pop(), mean, (float(sizes.min()), float(sizes.max())), ())
        always = [bone for bone, rows in own.bones.items() if np.isfinite(shapes[:, rows]).all()]
        return cls(own.names, own.unit, own.mean, own.size, tuple(always))

    def points(self, hand: Landmarks) -> FloatArray:
        """(P, 2) checked points of a hand, to the right and down.

        Raises:
            InputError: if names or unit differ, a bone is there in part or lacks where none may, or the hand is
                mirrored or of another size than any of the training.
        """
        if lacking := [name for name in self.names if name not in hand.names]:
            raise InputError(f"lacks {lacking[0]} and {len(lacking) - 1} more; give the points that were trained on")
        if hand.unit != self.unit:
            raise InputError(f"the points are in {hand.unit}, but the model was trained in {self.unit}; convert them")
        points = _points(hand, self.names)
        there = np.isfinite(points[:, 0])
        if not there.any():
            raise InputError("all points are missing; place those of the bones that are there")
        for bone, rows in self.bones.items():
            count = int(there[rows].sum())
            if 0 < count < len(rows):
                raise InputError(
                    f"{len(rows) - count} of the {len(rows)} points of {bone} are missing; place all or none"
                )
            if not count and bone in self.needed:
                raise InputError(f"{bone} is missing, which no hand of the training lacked; place its points")
        centred = points[there] - points[there].mean(0)
        size = float(np.sqrt((centred**2).sum(1).mean()))
        if not self.size[0] / _SIZE_RANGE <= size <= self.size[1] * _SIZE_RANGE:
            raise InputError(
                f"the points are {size:.3g} {self.unit} from their middle on average, in training "
                f"{self.size[0]:.3g} to {self.size[1]:.3g}; is the unit right?"
            )
        # As complex numbers a turn is a factor: the better of plain and conjugate tells which way round the hand is.
        mean, own = (shape @ np.array([1, 1j]) for shape in (self.mean[there], centred))
        if abs(np.vdot(mean, own)) < abs(np.vdot(mean.conj(), own)):
            raise InputError("the hand is mirrored against those of the training; mirror its points first")
        return points


def _bone(name: str) -> str:
    return name.rpartition("_")[0] or name


def _points(hand: Landmarks, names: Sequence[str]) -> FloatArray:
    return np.asarray(apply_affine(LPS_TO_RAS, hand.ordered(names).points_mm)[:, :2])


class BoneAgeModel:
    """A trained ensemble and the hands it knows.

    Args:
        network: the ensemble.
        hands: what the training's hands were like.
        bucket_months: width of a class of age; the first begins at 0.
    """

    def __init__(self, network: BoneAgeEnsemble, hands: _Hands, *, bucket_months: float = 4.0) -> None:
        self.network, self.hands, self.bucket_months = network.eval(), hands, bucket_months

    def read(self, hand: Landmarks, *, film: Volume | None = None) -> AgeReading:
        """The bone age of a hand.

        Args:
            hand: the points that the model was trained on, by name; a bone that has not appeared is missing.
            film: not needed; where given, the points must lie on it, in its unit.
        Raises:
            InputError: if the hand is unlike those of the training, see ``docs/bone_age.rst``, or not trusted.
        """
        refuse_untrusted(hand, self.hands.names)  # a bone that was withheld would count as one that has not appeared
        points = torch.as_tensor(self.hands.points(hand), dtype=torch.float32)[None]
        if film is not None:
            check_film(film, hand)
        with torch.inference_mode():
            chances = self.network(points)[0].softmax(-1).double().numpy()
        middles = self.bucket_months * (np.arange(chances.shape[1]) + 0.5)
        mean = chances.mean(0)
        members = chances @ middles
        return AgeReading(
            float(mean @ middles), float(members.std()), float(middles[mean.argmax()]), mean, self.bucket_months
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and all that reading needs to one file.

        Raises:
            InputError: if the file cannot be written.
        """
        hands = {**asdict(self.hands), "mean": self.hands.mean.tolist()}
        content = {"hands": hands, "bucket_months": self.bucket_months, "state": self.network.state_dict()}
        with atomic_path(path) as temporary:
            torch.save(content, temporary)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BoneAgeModel:
        """Read what ``save`` wrote.

        Raises:
            InputError: if the file is none of that kind.
        """
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file; check the path")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            hands = content["hands"]
            own = _Hands(
                tuple(hands["names"]),
                hands["unit"],
                np.array(hands["mean"]),
                tuple(hands["size"]),
                tuple(hands["needed"]),
            )
            last_biases = [bias for name, bias in content["state"].items() if name.endswith("join.2.bias")]
            sizes = [len(rows) for rows in own.bones.values()]
            network = BoneAgeEnsemble(sizes, len(last_biases[0]), members=len(last_biases))
            network.load_state_dict(content["state"])
            return cls(network, own, bucket_months=float(content["bucket_months"]))
        except Exception as error:  # of many kinds: see lmk3d.weights.load_weights
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{path}: is no bone age model; give a file that BoneAgeModel.save wrote ({reason})"
            ) from error


class _Objective(nn.Module):
    """Cross entropy of each member, as the training room's losses by name."""

    def __init__(self, network: BoneAgeEnsemble) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits = self.network(batch["points"])
        return {
            f"member {row + 1}": functional.cross_entropy(own, batch["bucket"])
            for row, own in enumerate(logits.unbind(1))
        }


class _Cases(Dataset[dict[str, Any]]):
    def __init__(self, points: FloatArray, buckets: NDArray[np.int64]) -> None:
        self.points, self.buckets = torch.as_tensor(points, dtype=torch.float32), torch.as_tensor(buckets)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"points": self.points[row], "bucket": self.buckets[row]}


def train_bone_age(  # noqa: PLR0913 - each is a setting of the training
    hands: Sequence[Landmarks],
    months: ArrayLike,
    folder: str | os.PathLike[str],
    *,
    epochs: int = 75,
    members: int = 5,
    bucket_months: float = 4.0,
    seed: int = 0,
) -> BoneAgeModel:
    """Train an ensemble; a run that was killed goes on where it was when it is started again.

    Args:
        hands: points of one name set, those of a bone named ``<bone>_<number>``. A bone is there as a whole or missing.
            Predicted points of the same hands may stand beside the true ones.
        months: (S,) the age of each.
        folder: for the checkpoints, last.pt and model.pt of the training room, and the result, bone_age.pt.
        epochs: passes over the hands.
        members: of the ensemble.
        bucket_months: width of a class of age.
        seed: of everything random.
    Returns:
        The model, as it is in bone_age.pt.
    Raises:
        InputError: if the hands do not fit together, ages are missing or not above 0, or there are fewer than two.
    Source:
        Keuth et al. 2024 (DenseSeg), sec. 3.2: 75 epochs of Adam, five members, classes of 4 months. Learning rate
        1e-3 and batches of 32 are ours, the paper gives none; so is the mean of the classes as the age read.
    """
    ages = np.asarray(months, dtype=np.float64)
    if len(hands) != len(ages) or len(hands) < 2:
        raise InputError(
            f"{counted(len(hands), 'hand')} came with {counted(len(ages), 'age')}; give at least two hands, and an age "
            "for each"
        )
    if not (np.isfinite(ages).all() and (ages > 0).all()):
        raise InputError("an age is missing or not above 0; give months")
    known = _Hands.of(hands)
    points = np.stack([known.points(hand) for hand in hands])
    buckets = (ages // bucket_months).astype(np.int64)
    torch.manual_seed(seed)
    network = BoneAgeEnsemble([len(rows) for rows in known.bones.values()], int(buckets.max()) + 1, members=members)
    objective = _Objective(network)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3)
    # Batch norm needs two: a rest of one is left out.
    loader = DataLoader(_Cases(points, buckets), batch_size=_BATCH, shuffle=True, drop_last=len(hands) % _BATCH == 1)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=loader,
        network=objective,
        optimizer=optimizer,
        loss_function=total_loss,
        prepare_batch=prepare_batch,
    )
    save = {"network": network, "optimizer": optimizer}
    Resume(Path(folder), save, interval=max(1, epochs // 5), seed=seed).attach(trainer)
    trainer.run()
    model = BoneAgeModel(network, known, bucket_months=bucket_months)
    model.save(Path(folder) / "bone_age.pt")
    return model


@dataclass(frozen=True)
class AgeScores:
    """How far read ages are from true ones.

    Args:
        mae_months: mean absolute error.
        r_squared: part of the true ages' variance that is explained; 0 for their own mean.
        mean_age_mae_months: mean absolute error of guessing one age for all.
    """

    mae_months: float
    r_squared: float
    mean_age_mae_months: float


def age_scores(read: ArrayLike, truth: ArrayLike, *, mean_age: float) -> AgeScores:
    """Mean absolute error, R squared, and what guessing ``mean_age`` (of the training) would give.

    Args:
        read, truth: (S,) months, finite; at least two different true ages.
        mean_age: months.
    Raises:
        ValueError: if the shapes differ, a number is NaN, or all true ages are alike.
    """
    found, true = np.asarray(read, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if found.shape != true.shape or found.ndim != 1 or not np.isfinite([found, true]).all() or np.ptp(true) == 0:
        raise ValueError(
            f"ages must be finite (S,) and (S,), got {found.shape} and {true.shape}; give as many, not all alike"
        )
    residual, spread = ((true - found) ** 2).sum(), ((true - true.mean()) ** 2).sum()
    return AgeScores(
        float(np.abs(true - found).mean()), float(1 - residual / spread), float(np.abs(true - mean_age).mean())
    )


def age_picture(hand: Landmarks, reading: AgeReading, *, film: Volume | None = None, title: str = "") -> Figure:
    """The bones' outlines, on their film where there is one, and the likeliest classes of age beside.

    Args:
        hand, reading: as in and out of ``BoneAgeModel.read``.
        film: the image; an empty sheet where None.
        title: usually the file's name.
    """
    bones: dict[str, list[FloatArray]] = {}
    for name, point, there in zip(hand.names, hand.points_mm, hand.present, strict=True):
        if there:
            bones.setdefault(_bone(name), []).append(point)
    strokes = [Stroke(np.stack([*points, points[0]]), LETTER, 1.2) for points in bones.values()]
    # Names of long bones side by side would run into each other at one height.
    marks = [
        Mark(np.mean(points, axis=0), name, TEXT, (0.0, 16.0 * (row % 3 - 1)))
        for row, (name, points) in enumerate(bones.items())
    ]
    rows = [
        Row("bone age", f"{reading.months:.0f} months ({reading.months / 12:.1f} years)"),
        Row("the members' spread", f"{reading.spread_months:.1f} months"),
        Row(""),
        Row("likeliest classes", "", FAINT),
    ]
    for row in np.argsort(-reading.chances)[:5]:
        low = reading.bucket_months * row
        rows.append(
            Row(f"{low:g} to {low + reading.bucket_months:g} months", f"{100 * reading.chances[row]:.0f} %", FAINT)
        )
    return tracing(blank_film(hand) if film is None else film, strokes, marks, rows, title=title)
