"""How the learning rate falls, over a number of steps or within a time, and how a training keeps to that time."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from ignite.engine import Events
from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from collections.abc import Callable

    from ignite.engine import Engine

    from lmk3d.training.checkpoints import Resume

__all__ = ["TimeLimit", "cosine_decay"]

# Of a budget's training, a validation at most every so often, and no more than this part of it spent on validating.
_MOST_VALIDATIONS, _VALIDATING = 12, 0.2
# What a step or a validation may take longer than the last one did.
_SPARE = 1.1


def cosine_decay(steps: int, *, floor: float = 0.01) -> Callable[[int], float]:
    """From the number of steps made to the factor of the learning rate: half a cosine from 1 to ``floor``.

    >>> decay = cosine_decay(100)
    >>> decay(0), round(decay(50), 3), round(decay(100), 3)
    (1.0, 0.505, 0.01)
    """

    def factor(step: int) -> float:
        done = min(max(step / max(steps, 1), 0.0), 1.0)
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2

    return factor


class TimeLimit:
    """Ends a training when its time is used up: the learning rate at its end, the last weights validated and kept.

    How much is done is measured in time, not in epochs: where steps take longer than they did, there are fewer of them
    and the learning rate still falls to its end. Validations come by time, too, also within an epoch, so that they
    never take more than a fifth of it; the last one is at the end.

    Args:
        seconds: from the first step to the end of the last validation.
        resume: what writes the training's checkpoints; its evaluator validates.
        scheduler: of the learning rate; one that ``cosine_decay`` drives follows the time.
        validation_s: how long a validation takes, until one was measured.
    """

    def __init__(self, seconds: float, *, resume: Resume, scheduler: Any, validation_s: float) -> None:
        self.seconds, self.resume, self.scheduler = seconds, resume, scheduler
        self.validation_s, self.begun, self._at, self._next = validation_s, 0.0, 0.0, 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def begin(self, engine: Engine) -> None:
        """Start the clock, once a checkpoint is loaded."""
        self.begun = self._at = time.monotonic()
        engine.state.deadline = self.begun + self.seconds  # for the progress line
        self._plan()
        if isinstance(self.scheduler, LambdaLR):
            decay = cosine_decay(1)
            self.scheduler.lr_lambdas = [lambda _: decay(self.done(engine))] * len(self.scheduler.lr_lambdas)  # type: ignore[arg-type]

    def done(self, engine: Engine) -> float:
        """How much of the training is done, 0 to 1: of its time, or of its epochs where they end it earlier."""
        earlier_s, time_s = self.resume.earlier_s, self.seconds - self.validation_s
        steps = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
        of_time = (earlier_s + time.monotonic() - self.begun) / max(earlier_s + time_s, 1e-6)
        return min(1.0, max(of_time, engine.state.iteration / max(steps, 1)))

    def __call__(self, engine: Engine) -> None:
        now, length = time.monotonic(), engine.state.epoch_length or 0
        step_s, self._at = now - self._at, now
        left_s = self.begun + self.seconds - now
        last = engine.state.iteration == (engine.state.max_epochs or 0) * length
        if last or left_s < _SPARE * (step_s + self.validation_s):
            self._validate(engine)
            self.resume.keep(engine, finished=True)
            engine.terminate()
        elif now > self._next and left_s > 2 * _SPARE * (step_s + self.validation_s):
            self._validate(engine)
            self.resume.keep(engine, position=engine.state.iteration - (engine.state.epoch - 1) * length)
            self._plan()

    def _validate(self, engine: Engine) -> None:
        evaluator: Any = self.resume.evaluator
        begun = time.monotonic()
        evaluator.run(engine.state.epoch)
        self._at = time.monotonic()
        self.validation_s = self._at - begun

    def _plan(self) -> None:
        """When to validate next."""
        self._next = time.monotonic() + max(self.validation_s / _VALIDATING, self.seconds / _MOST_VALIDATIONS)
