"""Memory and time of one training step and one prediction as the landmarks grow: ``python tools/growth.py``.

Every figure is taken in a process of its own, forked after all imports, so that its memory is what the step adds.
"""

from __future__ import annotations

import argparse
import resource
import time
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lmk3d.codecs import DenseCodec, HeatmapCodec
from lmk3d.networks import AppearanceContextNet, Cascade, DenseShapeNet, HeatmapUNet
from lmk3d.networks.blocks import FlatDepth
from lmk3d.objectives import DenseObjective, MapObjective
from lmk3d.training import CascadeObjective, total_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COUNTS = (5, 19, 68, 166, 720)
SHAPE = (384, 224, 1)
_PER_CONTOUR = 40  # landmarks on one structure of the dense method, about as many as in its paper


def contours(count: int) -> dict[str, list[str]]:
    """Structures of at most 43 landmarks that hold all of them."""
    edges = np.linspace(0, count, max(1, count // _PER_CONTOUR) + 1).astype(int)
    return {f"s{n}": [str(row) for row in range(*edges[n : n + 2])] for n in range(len(edges) - 1)}


def circles(structures: dict[str, list[str]], shape: Sequence[int]) -> np.ndarray:
    """(N, 3) voxels on circles side by side, one for each structure."""
    points, across = [], int(np.ceil(np.sqrt(len(structures))))
    for number, members in enumerate(structures.values()):
        middle = (np.array(divmod(number, across)) + 0.5) * np.array(shape[:2]) / across
        angle = np.linspace(0, 2 * np.pi, len(members), endpoint=False)
        circle = 0.4 * min(shape[:2]) / across * np.column_stack([np.cos(angle), np.sin(angle)])
        points.append(np.column_stack([middle + circle, np.zeros(len(members))]))
    return np.concatenate(points)


def parts(method: str, count: int, shape: Sequence[int]) -> tuple[Any, dict[str, torch.Tensor], Callable[[], Any]]:
    """A method's objective, a batch of one film for it, and its prediction."""
    structures = contours(count)
    points = circles(structures, shape)
    image = torch.rand(1, 1, *shape)
    batch = {"input": image, "points_vox": torch.as_tensor(points, dtype=torch.float32)[None]}
    if method == "denseseg":
        codec: Any = DenseCodec([str(row) for row in range(count)], structures)
        first: Any = DenseObjective(codec)
        heatmap: Any = DenseShapeNet(len(structures), channels=(24, 48, 64, 96, 128), units=1)
        batch["target"] = codec.draw(points, (shape[0], shape[1], 1), points)[None]
        batch["template_uv"] = torch.as_tensor(codec.template_uv(points), dtype=torch.float32)[None]
    else:
        codec = HeatmapCodec(sigma_vox=1.0)
        first = MapObjective(codec, loss="softmax")
        heatmap = HeatmapUNet(count, channels=(16, 32, 64, 128), spatial_dims=2)
        if method == "appearance_context":
            heatmap = AppearanceContextNet(count, stride=(8, 8), logits=True)
    network = Cascade(FlatDepth(heatmap), [], num_landmarks=count)
    objective = CascadeObjective(network, codec=codec, spacings_mm=[], first=first)

    @torch.inference_mode()
    def predict() -> Any:
        network.eval()
        logits = network(image)[0]
        return codec.decode(logits, points) if isinstance(codec, DenseCodec) else codec.decode(logits)

    return objective, batch, predict


def measure(task: tuple[str, int, bool, tuple[int, ...]]) -> tuple[float, float]:
    """Seconds and MiB of one step of training, or of one prediction."""
    method, count, training, shape = task
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    objective, batch, predict = parts(method, count, shape)
    start = time.process_time()
    if training:
        optimizer = torch.optim.AdamW(objective.parameters())
        total_loss(objective(batch)).backward()
        optimizer.step()
    else:
        predict()
    taken = time.process_time() - start
    return taken, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def table(methods: Sequence[str], counts: Sequence[int], shape: tuple[int, ...] = SHAPE) -> list[str]:
    """Lines of the growth table."""
    lines = [f"{'method':<20}{'landmarks':>10}{'step s':>9}{'step MiB':>10}{'predict s':>11}{'predict MiB':>13}"]
    for method in methods:
        for count in counts:
            figures: list[float] = []
            for training in (True, False):
                with get_context("fork").Pool(1) as pool:
                    figures += pool.apply(measure, ((method, count, training, shape),))
            step, step_mib, predict, predict_mib = figures
            lines.append(f"{method:<20}{count:>10}{step:>9.2f}{step_mib:>10.0f}{predict:>11.2f}{predict_mib:>13.0f}")
            print(lines[-1], flush=True)
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Print the growth table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=lambda text: [int(one) for one in text.split(",")], default=COUNTS)
    parser.add_argument("--methods", type=lambda text: text.split(","), default=METHODS)
    arguments = parser.parse_args(argv)
    print("\n".join(table(arguments.methods, arguments.counts)))


METHODS = ("plain", "appearance_context", "denseseg")


if __name__ == "__main__":
    main()
