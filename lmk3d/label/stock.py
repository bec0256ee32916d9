"""What inference.json names for MONAI's own programs: ``monai.bundle run`` and MONAI Label's monaibundle app.

MONAI's reader loads the image, the inferer drives both stages of the detector, and its points leave as Slicer's markups
and as a label map on the image's own grid. ``lmk3d predict`` reads the same file and needs none of this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform

from lmk3d.errors import InputError
from lmk3d.geometry import Grid, Volume
from lmk3d.io import atomic_path, find_images, read_image, refuse_existing
from lmk3d.io.markups import markups_of
from lmk3d.io.patients import patient_of
from lmk3d.io.trust import WORDS, Said, assessment_of, parse_trust, trust_of
from lmk3d.label.labelmap import label_map
from lmk3d.landmarks import Landmarks, channel_def
from lmk3d.prediction import output_names
from lmk3d.terminal import say

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from monai.config import KeysCollection
    from numpy.typing import NDArray
    from torch import Tensor

    from lmk3d.inference import LandmarkDetector

__all__ = ["CheckReadingd", "LandmarkInferer", "LandmarksToLabelMapd", "SavePoints", "image_list"]

_CLOSE_MM = 5e-3  # NIfTI keeps its affine in float32, and ITK turns its axes until they are at right angles
_CLOSE = 0.1  # of a voxel, for images of a microscope


def image_list(image: str) -> list[dict[str, str]]:
    """The images of a file or a folder with the names of their points, for a ``Dataset``.

    Raises:
        InputError: if there are none.
    """
    if not image:
        raise InputError("no image is given; set --image to a file, or to a folder of images or of a DICOM series")
    paths = find_images([image])
    names = output_names(paths, [patient_of(path) for path in paths])
    return [{"image": str(path), "name": name} for path, name in zip(paths, names, strict=True)]


class CheckReadingd(MapTransform):
    """See that MONAI's reader means what this package's does, of which MONAI knows less, and refuse where it does not.

    The voxels must be the same and lie at the same places. What the detector must know besides is kept with the image:
    its unit, and which of its axes are the file's own. A radiograph gets a depth of one, as everywhere in this package.

    Args:
        keys: images as ``LoadImaged`` and ``EnsureChannelFirstd`` leave them.
    Raises:
        InputError: if the two readers disagree, or as ``lmk3d.io.read_image``.
    """

    def __init__(self, keys: KeysCollection = "image") -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = _checked(out[key])
        return out


def _checked(image: MetaTensor) -> MetaTensor:
    path = image.meta.get("filename_or_obj")
    if not path:
        raise InputError("the image comes from no file; give a file or a folder")
    volume, use = read_image(str(path)), f"use lmk3d predict, or save it as NIfTI ({path})"
    if len(image) != 1:
        raise InputError(f"MONAI's reader gives {len(image)} channels of an image that has one; {use}")
    data, affine = image.as_tensor(), np.eye(4)
    axes = image.ndim - 1
    given = np.asarray(image.affine, dtype=np.float64)
    affine[:axes, :axes], affine[:axes, 3] = given[:axes, :axes], given[:axes, -1]
    grid = Grid((*data.shape[1:], 1)[:3], affine)
    turn = _turn(grid, volume.grid)
    if turn is None:
        raise InputError(f"MONAI's reader places the voxels elsewhere than the file says; {use}")
    loaded = _turned(data.reshape(grid.shape).numpy(), turn)
    if not np.allclose(loaded, volume.data, rtol=1e-5, atol=1e-3, equal_nan=True):
        raise InputError(f"MONAI's reader gives other grey values than the file means; {use}")
    for note in volume.notes:
        say(f"{path}: {note}")
    # The detector gets the file's own affine: ITK's differs in the ninth digit, and a grid that is turned by as much is
    # sampled another way.
    own = torch.as_tensor(volume.grid.affine.copy())
    meta = {**image.meta, "unit": volume.unit, "turn": torch.as_tensor(turn), "file_affine": own}
    meta |= {"affine": torch.as_tensor(affine), "original_affine": affine.copy(), "spatial_shape": np.array(grid.shape)}
    return MetaTensor(data.reshape(1, *grid.shape), meta=meta)


def _turn(given: Grid, wanted: Grid) -> NDArray[np.float64] | None:
    """(4, 4) from one grid's voxels to another's that has the same ones in another order; None if it has others."""
    turn = wanted.inverse @ given.affine
    exact = np.rint(turn)
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(given.shape) - 1)
    meant = wanted.affine @ exact
    apart = np.abs(np.c_[corners, np.ones(8)] @ (meant - given.affine).T).max()
    ends = np.c_[corners, np.ones(8)] @ exact.T[:, :3]
    same = (ends.min(0) == 0).all() and (ends.max(0) == np.array(wanted.shape) - 1).all()
    permutes = (np.abs(exact[:3, :3]).sum(0) == 1).all() and (np.abs(exact[:3, :3]).sum(1) == 1).all()
    return exact if same and permutes and apart < min(_CLOSE_MM, _CLOSE * wanted.spacing_mm.min()) else None


def _turned(data: NDArray[Any], turn: NDArray[np.float64]) -> NDArray[Any]:
    """The voxels in the order that ``_turn`` found."""
    axes = np.abs(turn[:3, :3]).argmax(1)
    flipped = [axis for axis in range(3) if turn[axis, axes[axis]] < 0]
    return np.flip(data.transpose(axes), flipped)


class LandmarkInferer(Inferer):
    """Drives both stages: images (1, 1, I, J, K) with their affine to points, as a row of numbers each.

    Args:
        detector: of the bundle; its network is replaced by the one that is called with.
        keep_untrusted: whether the rows hold points that are not trusted; they are missing without it.
    """

    def __init__(self, detector: LandmarkDetector, *, keep_untrusted: bool = False) -> None:
        super().__init__()
        self.detector, self.keep_untrusted = detector, keep_untrusted

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Find the landmarks.

        Args:
            inputs: one image, ``MetaTensor`` (1, 1, I, J, K), as ``CheckReadingd`` leaves it.
            network: the ``Cascade`` with its weights.
            args, kwargs: of MONAI's engines; without use here.
        Returns:
            (1, R, 9) float64: the number of the name, world RAS mm (px where the image has no spacing), confidence,
            expected error, 1 where the unit is px, the coverage of the error, and the place of the point's trust in
            ``lmk3d.io.trust.WORDS``; NaN where missing or unknown. Its ``meta`` has the reasons, "why".
        Raises:
            InputError: as ``LandmarkDetector.detect``, or if the image carries no affine.
        """
        if not isinstance(inputs, MetaTensor) or len(inputs) != 1 or "turn" not in inputs.meta:
            raise InputError("the inferer takes one image at a time, as preprocessing leaves it")
        turn, affine = (np.asarray(inputs.meta[key].cpu()).reshape(4, 4) for key in ("turn", "file_affine"))
        data = _turned(inputs.as_tensor()[0, 0].cpu().numpy(), turn)
        unit = inputs.meta["unit"]
        volume = Volume(data, Grid(data.shape, affine), unit if isinstance(unit, str) else unit[0])
        self.detector.network, self.detector.device = network, inputs.device
        found = self.detector.detect(volume).withheld(keep_points=self.keep_untrusted)
        said = [trust_of(found, row) for row in range(len(found))]
        trust = [WORDS.index(word) if word else np.nan for word, _ in said]
        shared = [found.unit == "px", np.nan if found.coverage is None else found.coverage]
        unknown = np.full(len(found), np.nan)
        columns = [unknown if one is None else one for one in (found.confidence, found.error_mm)]
        numbers = [self.detector.names.index(name) for name in found.names]
        rows = np.c_[numbers, found.points_mm, np.stack(columns, 1), np.tile(shared, (len(found), 1)), trust]
        # One text, since MONAI takes lists apart.
        meta = {"why": [json.dumps([why for _, why in said])]}
        out = MetaTensor(torch.as_tensor(rows, dtype=torch.float64)[None], meta=meta)
        out.is_batch = True
        return out


class LandmarksToLabelMapd(MapTransform):
    """Turn the inferer's rows into a label map on the image's own grid, and into Slicer's markups.

    Points that are not trusted are marked in the markups, and never in the label map, in which nothing can be marked.

    Args:
        keys: the rows (R, 9), which the label map (1, I, J, K) replaces: a small ball round each point, numbered as
            ``lmk3d.landmarks.channel_def`` says.
        names: of the landmarks, in the network's order.
        image_key: the image whose grid it is.
        result_key: where the markups go, a dictionary as in a .mrk.json.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        *,
        names: Sequence[str],
        image_key: str = "image",
        result_key: str = "result",
    ) -> None:
        super().__init__(keys)
        self.names, self.image_key, self.result_key = tuple(names), image_key, result_key
        self.labels = {name: int(number) for number, name in channel_def(names).items() if number != "0"}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out, image = dict(data), data[self.image_key]
        for key in self.key_iterator(out):
            found = self._landmarks(out[key])
            balls, _ = label_map(found.withheld(), Grid.of(image), labels=self.labels)
            drawn = torch.as_tensor(balls.data.astype(np.int16))[None]
            out[key] = MetaTensor(drawn, meta={**image.meta, "affine": image.affine})
            out[self.result_key] = markups_of(found)
        return out

    def _landmarks(self, tensor: Tensor) -> Landmarks:
        """What the inferer's rows mean; where MONAI has dropped the reasons, what is trusted still stands."""
        rows = np.asarray(tensor.cpu(), dtype=np.float64)
        why = tensor.meta.get("why") if isinstance(tensor, MetaTensor) else None
        reasons = json.loads(why) if isinstance(why, str) else [""] * len(rows)
        said = [
            None if np.isnan(word) else parse_trust(Said(trust=WORDS[int(word)], why=reason), "the inferer")
            for word, reason in zip(rows[:, 8], reasons, strict=True)
        ]
        return Landmarks(
            tuple(self.names[int(number)] for number in rows[:, 0]),
            rows[:, 1:4],
            rows[:, 4],
            rows[:, 5],
            "px" if rows[:, 6].any() else "mm",
            assessment=assessment_of(said),
            coverage=None if not len(rows) or np.isnan(rows[0, 7]) else float(rows[0, 7]),
            held_back=np.array([told is not None and told.suspect for told in said]),
        )


class SavePoints:
    """A handler that writes the markups of each image as NAME.mrk.json; files that exist are not replaced.

    Args:
        output_dir: folder to write to; made when it is not there.
        result_key: where ``LandmarksToLabelMapd`` has put them.
    """

    def __init__(self, output_dir: str, *, result_key: str = "result") -> None:
        self.folder, self.result_key = Path(output_dir), result_key

    def attach(self, engine: Any) -> None:
        """Write after each image, once its points are found."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Write the points of one batch.

        Raises:
            InputError: if a file is there already.
        """
        for image, output in zip(engine.state.batch, engine.state.output, strict=True):
            path = self.folder / f"{image['name']}.mrk.json"
            refuse_existing([path], overwrite=False)
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                text = json.dumps(output[self.result_key], indent=1, ensure_ascii=False)
                temporary.write_text(text + "\n", encoding="utf-8")
            verdicts = {
                own["assessment"]["verdict"] for own in output[self.result_key]["markups"] if "assessment" in own
            }
            say(f"wrote {path}{''.join(f', {verdict}' for verdict in verdicts)}")
