"""How the learning rate falls, over a number of steps or within a time, and how a training keeps to that time."""

from __future__ import annotations

import math
import time
from collections import deque
from statistics import median
from typing import TYPE_CHECKING, Any

from ignite.engine import Events
from torch.optim.lr_scheduler import LambdaLR

from lmk3d.terminal import counted, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from ignite.engine import Engine

    from lmk3d.training.checkpoints import Resume

__all__ = ["TimeLimit", "cosine_decay"]

# Of a budget's training, a validation at most every so often, and no more than this part of it spent on validating.
_MOST_VALIDATIONS, _VALIDATING = 12, 0.2
# What a step or a validation may take longer than the last one did.
_SPARE = 1.1
# Steps whose median says how busy the machine is.
_RECENT = 10
# Of the time, what is worth going on for where the end came too early.
_GO_ON = 0.1


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
    never take more than a fifth of it; the last one is at the end. One that takes far longer than planned is stopped:
    the last one speaks of fewer cases then.

    Args:
        seconds: from the first step to the end of what follows the training.
        resume: what writes the training's checkpoints; its evaluator validates.
        scheduler: of the learning rate; one that ``cosine_decay`` drives follows the time.
        validation_s: how long a validation takes, until one was measured.
        closing_s: to keep for what follows the last validation; both grow with the steps on a machine that gets busier.
    """

    def __init__(
        self, seconds: float, *, resume: Resume, scheduler: Any, validation_s: float, closing_s: float = 0.0
    ) -> None:
        self.seconds, self.resume, self.scheduler = seconds, resume, scheduler
        self.validation_s, self.closing_s = validation_s, closing_s
        self.end = self._at = self._next = self._until = self._case = self._begun = 0.0
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=_RECENT)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        evaluator: Any = self.resume.evaluator
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._bound)

    def begin(self, engine: Engine) -> None:
        """Start the clock, once a checkpoint is loaded."""
        self._begun = self._at = time.monotonic()
        self.end = self._begun + self.seconds
        engine.state.deadline = self.end - self.closing_s  # for the progress line
        self._plan()
        if isinstance(self.scheduler, LambdaLR):
            decay = cosine_decay(1)
            count = len(self.scheduler.lr_lambdas)
            self.scheduler.lr_lambdas = [lambda _: decay(self.done(engine))] * count  # type: ignore[arg-type]

    @property
    def slowdown(self) -> float:
        """How much longer the last steps took than those behind the last validation; 1 at least."""
        return max(1.0, median(self._last) / max(median(self._first), 1e-9)) if self._last else 1.0

    def done(self, engine: Engine) -> float:
        """How much of the training is done, 0 to 1: of its time, or of its epochs where they end it earlier."""
        earlier_s, now = self.resume.earlier_s, time.monotonic()
        whole_s = earlier_s + self.seconds - self.slowdown * (self.validation_s + self.closing_s)
        steps = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
        of_time = (earlier_s + now - self._begun) / max(whole_s, 1e-6)
        return min(1.0, max(of_time, engine.state.iteration / max(steps, 1)))

    def __call__(self, engine: Engine) -> None:
        now = time.monotonic()
        step_s, self._at = now - self._at, now
        self._last.append(step_s)
        if len(self._first) < _RECENT:
            self._first.append(step_s)
        validation_s, closing_s = self.slowdown * self.validation_s, self.slowdown * self.closing_s
        left_s = self.end - now - closing_s
        last = engine.state.iteration == (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
        if last or left_s < _SPARE * (step_s + validation_s):
            # Half of what is left at least is for what follows.
            whole = self._validate(engine, until=max(self.end - closing_s, (now + self.end) / 2))
            left_s = self.end - time.monotonic() - self.slowdown * self.closing_s
            if whole and not last and left_s > max(self._least_s(step_s), _GO_ON * self.seconds):
                self.resume.keep(engine, within=True)  # it was quicker than the last steps let expect
                self._plan()
                return
            self.resume.keep(engine, finished=True)
            engine.terminate()
        elif now > self._next and left_s > self._least_s(step_s):
            if self._validate(engine, until=now + max(2 * validation_s, _VALIDATING * left_s)):
                self.resume.keep(engine, within=True)
            self._plan()

    def _least_s(self, step_s: float) -> float:
        """What is worth going on for after a validation: a step and another validation, twice as long as planned."""
        return 2 * _SPARE * (step_s + self.slowdown * self.validation_s)

    def _validate(self, engine: Engine, *, until: float) -> bool:
        """Validate, until a time at most; whether it came to its end."""
        evaluator: Any = self.resume.evaluator
        self.resume.store_before(engine, self.slowdown * self.validation_s)
        begun = self._case = time.monotonic()
        self._until = until
        evaluator.run(engine.state.epoch)
        self._at = time.monotonic()
        cases, total = evaluator.state.iteration, evaluator.state.epoch_length
        measured_s = (self._at - begun) * total / max(cases, 1)
        self.closing_s *= measured_s / max(self.validation_s, 1e-9)  # most of it detects in the same images
        self.validation_s, self._first = measured_s, []
        self._last.clear()
        engine.state.deadline = self.end - self.closing_s
        if cases < total:
            say(f"validation stopped by the time limit after {cases} of {counted(total, 'case')}")
        return bool(cases == total)

    def _bound(self, evaluator: Engine) -> None:
        now = time.monotonic()
        case_s, self._case = now - self._case, now
        if now + case_s > self._until and evaluator.state.iteration < (evaluator.state.epoch_length or 0):
            evaluator.terminate()

    def _plan(self) -> None:
        """When to validate next."""
        self._next = time.monotonic() + max(self.validation_s / _VALIDATING, self.seconds / _MOST_VALIDATIONS)
