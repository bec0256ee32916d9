"""What a training shows of itself: how far it is, its losses and errors, where its files are, how to resume it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from ignite.engine import Events

from lmk3d.metrics import mean_shape_errors, unique_points
from lmk3d.terminal import StatusLine, bar, counted, duration, say
from lmk3d.training.checkpoints import rank
from lmk3d.transforms.loading import points_of

if TYPE_CHECKING:
    from ignite.engine import Engine
    from monai.engines import Evaluator

    from lmk3d.training.checkpoints import Resume

__all__ = ["ProgressLine", "note_undertrained", "run_training"]

# Seconds between two lines where there is no terminal whose last line can be replaced.
_PLAIN_S = 60.0
# Training cases whose mean shape is taken: of more it is nearly the same, and phantoms take a second each.
_SHAPES = 10


class ProgressLine:
    """One line an epoch (losses, seconds, new validation errors), and how far the training is in between.

    In a terminal the last line shows step, loss and time left after every step; into a file or a pipe a line a minute
    is printed.

    Args:
        evaluator: whose metrics to show.
        unit: of the points: "mm", or "px" of films without a spacing.
    """

    def __init__(self, evaluator: Evaluator | None = None, *, unit: str = "mm") -> None:
        self.evaluator, self.unit, self.status = evaluator, unit, StatusLine()
        self.sums: dict[str, list[float]] = {}
        self.begun, self.fresh, self.printed = time.monotonic(), False, -math.inf
        self.started, self.steps = time.monotonic(), 0
        if evaluator is not None:
            evaluator.add_event_handler(Events.STARTED, self._validating)
            evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._validating)
            evaluator.add_event_handler(Events.COMPLETED, lambda: setattr(self, "fresh", True))

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.TERMINATE, self)

    def _start(self) -> None:
        self.started, self.steps = time.monotonic(), 0

    def _begin(self) -> None:
        self.sums, self.begun = {}, time.monotonic()

    def _add(self, engine: Engine) -> None:
        for name, loss in engine.state.output["pred"].items():
            self.sums.setdefault(name, []).append(loss.item())
        self.steps += 1
        length, left_s = engine.state.epoch_length or 1, self._left_s(engine)
        step = engine.state.iteration - (engine.state.epoch - 1) * length
        loss = sum(values[-1] for values in self.sums.values())
        text = f"{_epoch(engine)}, step {step}/{length}: loss {loss:.3f}, {duration(left_s)} left"
        done_s = time.monotonic() - self.started
        self._show(text, done_s / max(done_s + left_s, 1e-6), last=step == length)

    def _left_s(self, engine: Engine) -> float:
        """Until the deadline where there is one, else what the rest takes if it takes as long as the steps so far."""
        now, state = time.monotonic(), engine.state
        if (deadline := getattr(state, "deadline", None)) is not None:
            return max(0.0, float(deadline) - now)
        left = (state.max_epochs or 0) * (state.epoch_length or 0) - state.iteration
        return (now - self.started) / self.steps * left

    def _validating(self, engine: Engine) -> None:
        total, done = engine.state.epoch_length or 1, engine.state.iteration
        self._show(f"validation: {done} of {counted(total, 'case')}", done / total, last=done == total)

    def _show(self, text: str, done: float, *, last: bool) -> None:
        if rank():
            return
        self.status.show(f"{bar(done)} {text}")
        if not self.status.shown and not last and time.monotonic() - self.printed > _PLAIN_S:
            self._print(text)

    def _print(self, line: str) -> None:
        self.status.clear()
        self.printed = time.monotonic()
        say(line)

    def __call__(self, engine: Engine) -> None:
        losses = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in self.sums.items())
        line = f"{_epoch(engine)}: loss {losses}" if losses else _epoch(engine)
        if self.evaluator is not None and self.fresh:
            self.fresh = False
            line += ", validation error " + ", ".join(
                f"{name.removeprefix('mean_error_mm ')} {value:.3f} {self.unit}"
                for name, value in self.evaluator.state.metrics.items()
                if name.startswith("mean_error_mm ")
            )
        if not rank():
            self._print(f"{line} ({time.monotonic() - self.begun:.0f} s)")


def _epoch(engine: Engine) -> str:
    """Which epoch this is, of how many where time does not decide it."""
    timed = getattr(engine.state, "deadline", None) is not None
    return f"epoch {engine.state.epoch}" + ("" if timed else f"/{engine.state.max_epochs}")


def run_training(trainer: Engine, resume: Resume) -> None:
    """Run a training to its end; say where its weights are, or how to resume it.

    Raises:
        KeyboardInterrupt: with the line to print, when it is stopped by Ctrl-C.
    """
    try:
        trainer.run()
    except KeyboardInterrupt:
        StatusLine().clear()
        raise KeyboardInterrupt(resume.lost() if trainer.state.iteration else "stopped before the first step") from None
    if rank():
        return
    unit = getattr(getattr(resume.evaluator, "detector", None), "unit", "mm")
    best = f", best validation error {resume.best:.3f} {unit}" if math.isfinite(resume.best) else ""
    say(f"trained {counted(trainer.state.epoch, 'epoch')}{best}: {resume.folder / 'model.pt'}")


def note_undertrained(trainer: Any, resume: Resume) -> None:
    """Print a line where the best validation is no better than the mean training shape, aligned with the ground truth.

    Args:
        trainer: with the training cases.
        resume: with the best validation error; its evaluator has the validation cases.
    """
    evaluator: Any = resume.evaluator
    detector = evaluator.detector
    if rank() or detector.unit != "mm" or not math.isfinite(resume.best):
        return
    names = tuple(dict.fromkeys(detector.names))
    shapes, truths = (
        np.array([unique_points(points_of(case), names) for case in cases])
        for cases in (trainer.data_loader.dataset.data[:_SHAPES], evaluator.data_loader.dataset.data)
    )
    errors = mean_shape_errors(shapes, truths, align=True)
    if np.isfinite(errors).any() and resume.best >= (mean := float(np.nanmean(errors))):
        say(
            f"undertrained: the validation error is no better than that of the aligned mean shape ({mean:.3f} mm); "
            "train longer or on more cases"
        )
