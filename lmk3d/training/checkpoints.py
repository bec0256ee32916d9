"""Checkpoints from which a training that was stopped at any step resumes as if it had never been."""

from __future__ import annotations

import os
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Events
from monai.utils import set_determinism

from lmk3d.errors import InputError
from lmk3d.io import atomic_path
from lmk3d.terminal import counted, duration, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ignite.engine import Engine
    from monai.engines import Evaluator

__all__ = ["Resume", "is_finished", "rank"]

# Seconds of work that a run which is killed may lose, where a step and a validation are shorter than that.
_MOST_LOST_S = 60.0


def rank() -> int:
    """Which process of a distributed training this is; 0 where there is one alone."""
    if torch.distributed.is_available():
        if torch.distributed.is_initialized():
            return torch.distributed.get_rank()
        if torch.distributed.is_torchelastic_launched():  # its group is made later
            return int(os.environ["RANK"])
    return 0


class Resume:
    """Makes a run that was killed and started again end with the weights of one that was not.

    Every epoch begins with seeds made of ``seed`` and its number, every step with its own, so that the state of a run
    is its checkpoint: weights, optimiser, schedule and the number of steps. One is written at every validation, and
    between two where a minute's work would be lost otherwise; a run that finds one resumes behind it, within an epoch
    and within a validation, too. ``model.pt`` holds the network alone, from the best validation so far, or from the end
    where no validation has said anything.

    Args:
        folder: for last.pt and model.pt.
        save: what must come back exactly: name to object with ``state_dict`` (network, optimizer, schedule).
        network: whose weights model.pt holds; its key in ``save``.
        transform: the training transforms, whose random state follows the step.
        evaluator: whose "mean_error_mm" says which weights are best; None keeps the newest.
        interval: epochs between those whose weights may be the best; match it with the validation's.
        seed: of everything random.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of the bundle
        self,
        folder: str | Path,
        save: Mapping[str, Any],
        *,
        network: str = "network",
        transform: Any = None,
        evaluator: Evaluator | None = None,
        interval: int = 1,
        seed: int = 0,
    ) -> None:
        self.folder, self.save, self.network, self.transform = Path(folder), dict(save), network, transform
        self.interval, self.seed, self.best = interval, seed, float("inf")
        self.evaluator: Any = evaluator
        self.stored, self.written, self.finished = 0, time.monotonic(), False
        self.earlier_s, self._begun, self._at, self._validation_s = 0.0, time.monotonic(), time.monotonic(), 0.0
        self._case = self._at

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_STARTED, self.seed_epoch)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self.seed_batch)
        engine.add_event_handler(Events.ITERATION_STARTED, self.seed_step)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.store_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.store)
        engine.add_event_handler(Events.COMPLETED, self.finish)
        if hasattr(self.evaluator, "partial"):
            self.evaluator.add_event_handler(Events.STARTED, self._time_case)
            self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._store_case, engine)

    def load(self, engine: Engine) -> None:
        """Resume from last.pt if there is one.

        Raises:
            InputError: if it is corrupt or from another network.
        """
        self.written = self._begun = self._at = time.monotonic()
        path, length = self.folder / "last.pt", engine.state.epoch_length or 0
        if not path.is_file():
            return
        state = self._read(path)
        if getattr(engine, "scaler", None) is not None and "scaler" in state:
            engine.scaler.load_state_dict(state["scaler"])
        steps = state.get("position", 0)
        if steps and state.get("length") != length:
            raise InputError(
                f"{path}: was written within an epoch of {state.get('length')} steps, which has {length} now; train "
                "with the same cases and batch size, or into another folder"
            )
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["epoch"] * length + steps
        self.stored = engine.state.iteration
        self.finished = not steps and state["epoch"] >= (engine.state.max_epochs or 0)
        if not rank():
            self._tell(engine, steps)
        if steps and steps == length:  # stopped after an epoch's last step, but before its validation
            engine.state.epoch += 1
            if "validation" in state and hasattr(self.evaluator, "recall"):
                self.evaluator.recall(state["validation"])
            engine.fire_event(Events.EPOCH_COMPLETED)
        elif steps:
            engine.state.dataloader = _Rest(engine.state.dataloader, steps)

    def _read(self, path: Path) -> dict[str, Any]:
        """Load a checkpoint into what it is of."""
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            for name, target in self.save.items():
                target.load_state_dict(state[name])
            self.best, self.earlier_s = state["best"], state.get("spent_s", 0.0)
            int(state["epoch"])
        except Exception as error:  # of many kinds: see lmk3d.weights.load_weights
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{path}: no training can go on from it ({reason}); remove it to begin anew, or train into another "
                "folder: --bundle_root FOLDER"
            ) from error
        return state

    def _tell(self, engine: Engine, steps: int) -> None:
        state, path = engine.state, self.folder / "last.pt"
        if self.finished:
            say(
                f"finished: {counted(state.epoch, 'epoch')} of {state.max_epochs} done in {self.folder}; "
                f"for more, set epochs above {state.epoch}; for another training, choose another folder"
            )
            return
        within = f", step {steps} of epoch {state.epoch + 1}," if steps else ""
        say(f"resumed after epoch {state.epoch}{within} from {path}")

    def _seed(self, *numbers: int) -> int:
        """A seed made of the run's, the process's and these numbers."""
        return int(np.random.SeedSequence([self.seed, rank(), *numbers]).generate_state(1)[0])

    def seed_epoch(self, engine: Engine) -> None:
        """Seed everything random from the epoch's number: the order of the cases, and workers where there are any."""
        set_determinism(seed=self._seed(0, engine.state.epoch), use_deterministic_algorithms=None)
        sampler: Any = getattr(engine.state.dataloader, "sampler", None)
        if hasattr(sampler, "set_epoch"):  # else every epoch of a distributed training has the same order
            sampler.set_epoch(engine.state.epoch)

    def seed_batch(self, engine: Engine) -> None:
        """Seed the transforms, whose random numbers are their own: the order of the cases is not touched."""
        if self.transform is not None:
            self.transform.set_random_state(seed=self._seed(1, engine.state.iteration + 1))

    def seed_step(self, engine: Engine) -> None:
        """Seed what the network draws in a step."""
        set_determinism(seed=self._seed(2, engine.state.iteration), use_deterministic_algorithms=None)

    def store_step(self, engine: Engine) -> None:
        """Write last.pt where the next step, or the validation behind the epoch's last one, would lose too much."""
        now, length = time.monotonic(), engine.state.epoch_length
        step_s, self._at = now - self._at, now
        validates = _position(engine) == length and engine.state.epoch % self.interval == 0
        self.store_before(engine, self._validation_s if validates else step_s)

    def store_before(self, engine: Engine, seconds: float) -> None:
        """Write last.pt where too much would be lost at the end of what comes next, which takes so many seconds."""
        if not rank() and time.monotonic() - self.written + seconds > _MOST_LOST_S:
            self._write(engine, model=False, position=_position(engine))

    def store(self, engine: Engine) -> None:
        """At the end of an interval write model.pt, if the validation was the best so far, and last.pt."""
        if engine.state.epoch % self.interval == 0:
            self._validation_s = time.monotonic() - self._at
        if engine.state.epoch % self.interval == 0 or engine.state.epoch == engine.state.max_epochs:
            self.keep(engine, finished=engine.state.epoch == engine.state.max_epochs)
        self._at = time.monotonic()

    def _time_case(self) -> float:
        before, self._case = self._case, time.monotonic()
        return self._case - before

    def _store_case(self, evaluator: Any, engine: Engine) -> None:
        """Write last.pt within a validation, with the cases so far, where the next one would lose too much."""
        if not rank() and time.monotonic() - self.written + self._time_case() > _MOST_LOST_S:
            self._write(engine, model=False, position=_position(engine), validation=evaluator.partial())

    def keep(self, engine: Engine, *, within: bool = False, finished: bool = False) -> None:
        """Write model.pt, if the validation was the best so far, and last.pt.

        Args:
            engine: the trainer.
            within: whether this is within an epoch; else the epoch counts as whole.
            finished: whether the run ends here.
        """
        if rank():
            return
        error = self.best if self.evaluator is None else self.evaluator.state.metrics.get("mean_error_mm", self.best)
        better = self.evaluator is None or error < self.best
        self.best, self.finished = error if better else self.best, finished
        self._write(engine, model=better, position=_position(engine) if within else 0)

    def finish(self, engine: Engine) -> None:
        """Write what an end between two intervals would lose."""
        lacking = not (self.folder / "model.pt").is_file()
        if not rank() and engine.state.iteration and (engine.state.iteration != self.stored or lacking):
            length = engine.state.epoch_length or 0
            self._write(engine, model=lacking, position=engine.state.iteration % length if length else 0)

    def _write(
        self, engine: Engine, *, model: bool, position: int = 0, validation: dict[str, Any] | None = None
    ) -> None:
        """The model first: a run killed between the two writes it again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {name: source.state_dict() for name, source in self.save.items()}
        if model:
            _save(state[self.network], self.folder / "model.pt")
        if getattr(engine, "scaler", None) is not None:
            state["scaler"] = engine.scaler.state_dict()
        place = {"epoch": engine.state.epoch - bool(position), "position": position, "finished": self.finished}
        place |= {"length": engine.state.epoch_length, "best": self.best, "spent_s": self.spent_s}
        place |= {} if validation is None else {"validation": validation}
        _save({**state, **place}, self.folder / "last.pt")
        self.stored, self.written = engine.state.iteration, time.monotonic()

    @property
    def spent_s(self) -> float:
        """Seconds of training so far, those of earlier runs included."""
        return self.earlier_s + time.monotonic() - self._begun

    def lost(self) -> str:
        """What an end at this moment loses, for the one who stops it."""
        kept = f"nothing lost but the last {duration(time.monotonic() - self.written)}"
        return f"stopped; run the same command again to resume: {kept}"


def _position(engine: Engine) -> int:
    """How many steps of its epoch a training has made."""
    return engine.state.iteration - (engine.state.epoch - 1) * (engine.state.epoch_length or 0)


def is_finished(path: Path) -> bool:
    """Whether a last.pt is that of a run that came to its end; False where there is none that can be read."""
    try:
        return bool(torch.load(path, map_location="cpu", weights_only=True).get("finished", False))
    except Exception:  # of many kinds; Resume names what is wrong with it
        return False


class _Rest:
    """A data loader whose first pass leaves out the batches that an earlier run has seen; later ones are whole."""

    def __init__(self, loader: Any, seen: int) -> None:
        self.loader, self.seen = loader, seen

    @property
    def sampler(self) -> Any:
        return self.loader.sampler

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        seen, self.seen = self.seen, 0
        batches = getattr(self.loader, "batch_sampler", None)
        if seen and getattr(self.loader, "num_workers", 0) == 0 and hasattr(batches, "sampler"):
            return self._unread(batches, seen)
        rest = iter(self.loader)
        for _ in range(seen):  # workers draw their random numbers one after another, for these batches, too
            next(rest)
        return rest

    def _unread(self, batches: Any, seen: int) -> Iterator[Any]:
        """Draw the order of the cases, but load none of those that were seen."""
        whole = batches.sampler
        batches.sampler = _Later(whole, seen * batches.batch_size)
        try:
            yield from self.loader
        finally:
            batches.sampler = whole


class _Later:
    """A sampler without its first indices."""

    def __init__(self, sampler: Any, first: int) -> None:
        self.sampler, self.first = sampler, first

    def __len__(self) -> int:
        return len(self.sampler) - self.first

    def __iter__(self) -> Iterator[int]:
        return islice(iter(self.sampler), self.first, None)


def _save(content: Any, path: Path) -> None:
    """Write a checkpoint whole or not at all."""
    try:
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
    except RuntimeError as error:  # so torch calls a disk that is full
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: cannot be written ({reason}); free some space or train elsewhere") from error
