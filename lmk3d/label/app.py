"""The app that MONAI Label runs: each bundle predicts, trains, scores and says which image to mark next."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.random import Random

from lmk3d.components import build, read_config
from lmk3d.errors import InputError
from lmk3d.inference import LandmarkDetector
from lmk3d.io import atomic_path, read_image, read_points, write_image, write_points
from lmk3d.io.markups import markups_of
from lmk3d.label.labelmap import label_map
from lmk3d.label.ranking import UNFIT, Score, score_of, urgency
from lmk3d.landmarks import VERDICTS
from lmk3d.manifest import describe_assessment
from lmk3d.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monailabel.interfaces.datastore import Datastore

__all__ = ["ExpectedError", "LandmarkApp", "LandmarkInfer", "LandmarkTrain", "LeastTrusted"]

Answer = dict[str, Any]

_VAL_SPLIT, _MAX_EPOCHS = 0.2, 20
_STEPS = 8  # samples of an epoch at least: with two marked images a pass over them would be a single step


class _Bundle:
    """A bundle in the app's folder; its weights are loaded again when training has changed them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        path, config = read_config(folder, "inference.json")
        self.names = tuple(build(config, "names", path))
        self.description = str(read_config(folder, "metadata.json")[1].get("description", folder.name))
        self.weights, self.scores = folder / "models" / "model.pt", folder / "scores.json"
        self._loaded: tuple[LandmarkDetector, int] | None = None

    def detector(self) -> tuple[LandmarkDetector, int]:
        """The detector with the weights as they are now, and a number that is theirs alone.

        Raises:
            InputError: if there are none yet.
        """
        if not self.weights.is_file():
            raise InputError(f"{self.name}: has no weights yet; mark some images and train it")
        stamp = self.weights.stat().st_mtime_ns
        if self._loaded is None or self._loaded[1] != stamp:
            self._loaded = LandmarkDetector.from_bundle(self.folder, device="auto"), stamp
        return self._loaded

    def scores_of(self, stamp: int | None) -> dict[str, Score]:
        """The score of each image that has one; those of these weights alone where a stamp is given."""
        content = json.loads(self.scores.read_text(encoding="utf-8")) if self.scores.is_file() else {}
        scores = {name: Score(*own) for name, own in content.get("images", {}).items()}
        return scores if stamp in (None, content.get("weights")) else {}


class LandmarkApp(MONAILabelApp):
    """Every bundle in ``model/`` as a model, a training, a scoring and a strategy of MONAI Label."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        folders = sorted(path for path in (Path(app_dir) / "model").iterdir() if path.name[0] != ".")
        self.bundles = [_Bundle(folder) for folder in folders]
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="lmk3d",
            description="Anatomical landmarks; research software, not a medical device",
        )

    def init_infers(self) -> dict[str, InferTask]:
        keep = self.conf.get("keep_untrusted") == "true"
        return {bundle.name: LandmarkInfer(bundle, Path(self.studies), keep_untrusted=keep) for bundle in self.bundles}

    def init_trainers(self) -> dict[str, TrainTask]:
        trust = self.conf.get("trust") == "true"
        return {bundle.name: LandmarkTrain(bundle, trust=trust) for bundle in self.bundles}

    def init_strategies(self) -> dict[str, Strategy]:
        return {f"{bundle.name}_trust": LeastTrusted(bundle) for bundle in self.bundles} | {"random": Random()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        return {"expected_error": ExpectedError(self.bundles)}

    def on_save_label(self, image_id: str, label_id: str) -> None:
        """Refuse points that no training could read, while the one who marked them is still there."""
        label = Path(self.datastore().get_label_uri(label_id, "final"))
        if label.name.endswith(".json"):
            try:
                read_points(label)
            except InputError as error:
                self.datastore().remove_label(label_id, "final")
                raise HTTPException(400, str(error)) from error


class LandmarkInfer(InferTask):
    """Points of an image as Slicer's markups and as a label map; the points also go to labels/original.

    MONAI Label has no type for landmarks: as a segmentation the model is offered by every client. Points that are not
    trusted are withheld; with ``keep_untrusted`` the markups hold them, marked. The label map, in which nothing can be
    marked, never does. The answer's ``assessment`` is that of a manifest.
    """

    def __init__(self, bundle: _Bundle, images: Path, *, keep_untrusted: bool = False) -> None:
        flat = read_config(bundle.folder, "metadata.json")[1].get("data_type") == "film"
        labels = {name: number for number, name in enumerate(dict.fromkeys(bundle.names), start=1)}
        super().__init__(InferType.SEGMENTATION, labels, 2 if flat else 3, bundle.description)
        self.bundle, self.images, self.keep_untrusted = bundle, images, keep_untrusted

    def is_valid(self) -> bool:
        return True

    def get_path(self, validate: bool = True) -> str | None:  # noqa: FBT001, FBT002 - MONAI Label calls it so
        return str(self.bundle.weights) if self.bundle.weights.is_file() or not validate else None

    def __call__(self, request: Answer) -> tuple[str, Answer]:
        """The file of the label map, and the markups with the label of each name."""
        if not request["image"]:
            raise HTTPException(404, "there is no such image; GET /datastore/?output=all lists them")
        image = Path(request["image"])
        try:
            volume = read_image(image)
            found = self.bundle.detector()[0].detect(volume)
        except InputError as error:
            raise HTTPException(400, str(error)) from error
        landmarks = found.withheld(keep_points=self.keep_untrusted)
        balls, labels = label_map(found.withheld(), volume.grid)
        with tempfile.NamedTemporaryFile(suffix=".nii.gz", delete=False) as file:  # MONAI Label removes it
            path = Path(file.name)
        write_image(balls, path)
        if image.parent == self.images:
            with atomic_path(self.images / "labels" / "original" / f"{_case(image)}.mrk.json") as temporary:
                write_points(landmarks, temporary)
        return str(path), {
            **markups_of(landmarks),
            "label_names": labels,
            "assessment": describe_assessment(landmarks),
        }


class LandmarkTrain(TrainTask):
    """Trains a bundle on all images with points, from the weights it has; the next prediction uses the new ones."""

    def __init__(self, bundle: _Bundle, *, trust: bool = False) -> None:
        super().__init__(f"Train {bundle.name} on the marked images")
        self.bundle, self.trust = bundle, trust

    def config(self) -> Answer:
        """What a client lets its user set."""
        return {"max_epochs": _MAX_EPOCHS, "val_split": _VAL_SPLIT}

    def __call__(self, request: Answer, datastore: Datastore) -> Answer:
        """Write the data set of the marked images and train on it.

        Raises:
            InputError: if no image has points, or the bundle holds code that nobody trusts.
        """
        from lmk3d.configure import train_dataset  # slow to import: the server itself never trains
        from lmk3d.configure.trust import check_trusted

        if not self.trust:
            check_trusted(self.bundle.folder)
        cases = _marked(datastore, self.bundle.names)
        if not cases:
            raise InputError(f"no image has points of {self.bundle.name}; save some as labels/final/NAME.mrk.json")
        held = min(max(1, round(float(request.get("val_split", _VAL_SPLIT)) * len(cases))), len(cases) - 1)
        training, validation = cases[held:], cases[:held] or cases
        if not held:
            say("one image alone: it is trained on and validated on, which says nothing about others")
        dataset = self.bundle.folder / "dataset.json"
        content = {"name": self.bundle.name, "landmarks": list(dict.fromkeys(self.bundle.names))}
        dataset.write_text(json.dumps({**content, "training": training, "validation": validation}), encoding="utf-8")
        _, train = read_config(self.bundle.folder, "train.json")
        epochs = int(request.get("max_epochs", _MAX_EPOCHS))
        batch = min(int(train["train"]["dataloader"]["batch_size"]), _STEPS)
        (self.bundle.folder / "models" / "last.pt").unlink(missing_ok=True)  # other images: a training of its own
        train_dataset(
            dataset,
            self.bundle.folder,
            overrides={
                "epochs": epochs,
                "validate_every": min(int(train["validate_every"]), epochs),
                "weights": str(self.bundle.weights) if self.bundle.weights.is_file() else "",
                "train#sampler#num_samples": max(_STEPS, len(training)),
                "train#dataloader#batch_size": batch,
            },
        )
        return {"model": self.bundle.name, "training": len(training), "validation": len(validation), "epochs": epochs}


class ExpectedError(ScoringMethod):
    """What each bundle with weights says of its own trust and errors, for every image without points.

    The verdict on the image, and the mean of the expected errors of the points it finds; an image in which it finds
    none counts as infinite. What was scored with the same weights is not scored again: MONAI Label asks after every
    training and every sample.
    """

    def __init__(self, bundles: Sequence[_Bundle]) -> None:
        super().__init__("Trust and mean expected error of the points of each image that nobody has marked")
        self.bundles = bundles

    def __call__(self, request: Answer, datastore: Datastore) -> Answer:
        return {bundle.name: _score(bundle, datastore) for bundle in self.bundles if bundle.weights.is_file()}


def _score(bundle: _Bundle, datastore: Datastore) -> int:
    """Score the images that lack a score of the weights as they are now; how many those were."""
    detector, stamp = bundle.detector()
    known = bundle.scores_of(stamp)
    images = [image for image in _unmarked(datastore) if image not in known]
    for image in images:
        try:
            known[image] = score_of(detector.detect(read_image(datastore.get_image_uri(image))))
        except InputError as error:  # not an image for this bundle: the last to be marked for it
            say(f"{image}: {error}")
            known[image] = UNFIT
    with atomic_path(bundle.scores) as path:
        path.write_text(json.dumps({"weights": stamp, "images": known}), encoding="utf-8")
    return len(images)


class LeastTrusted(Strategy):
    """The image without points that the bundle is to be trusted least in, see ``lmk3d.label.ranking.urgency``."""

    def __init__(self, bundle: _Bundle) -> None:
        super().__init__(f"Where {bundle.name} is unlike its training data, doubtful, or expects the largest error")
        self.bundle = bundle

    def __call__(self, request: Answer, datastore: Datastore) -> Answer | None:
        scores, images = self.bundle.scores_of(None), _unmarked(datastore)
        if not images:
            return None
        image = max(images, key=lambda name: urgency(scores.get(name)))
        score = scores.get(image, Score(0.0))
        # JSON knows no infinity, and the expected error of what is not trusted is nothing to go by.
        weighed = math.isfinite(score.error) and score.verdict in ("", VERDICTS[0])
        return {"id": image, "weight": score.error if weighed else None, "verdict": score.verdict}


def _case(image: Path) -> str:
    from lmk3d.label.server import IMAGES

    ending = next(ending for ending in IMAGES if image.name.lower().endswith(ending))
    return image.name[: -len(ending)]


def _points(datastore: Datastore, image: str) -> Path | None:
    """The corrected points of an image: from PUT /datastore/label, or saved into labels/final by Slicer itself."""
    stored = datastore.get_label_uri(image, "final")
    saved = Path(datastore.get_image_uri(image)).parent / "labels" / "final" / f"{image}.mrk.json"
    return next((path for path in (saved, Path(stored)) if path.is_file() and path.name.endswith(".json")), None)


def _marked(datastore: Datastore, names: tuple[str, ...]) -> list[dict[str, str]]:
    """The images that have points of these names."""
    pairs = [(image, _points(datastore, image)) for image in sorted(datastore.list_images())]
    return [
        {"image": datastore.get_image_uri(image), "points": str(path)}
        for image, path in pairs
        if path is not None and set(read_points(path).names) & set(names)
    ]


def _unmarked(datastore: Datastore) -> list[str]:
    return [image for image in sorted(datastore.list_images()) if _points(datastore, image) is None]
