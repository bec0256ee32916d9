"""How the learning rate falls, and trainings within a time."""

import math
import time
from types import SimpleNamespace

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from lmk3d.training import TimeLimit, cosine_decay


def test_the_learning_rate_falls_along_half_a_cosine():
    decay = cosine_decay(8, floor=0.1)
    assert decay(0) == 1.0
    assert decay(2) == pytest.approx(0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)
    assert decay(8) == pytest.approx(0.1)
    assert decay(9) == pytest.approx(0.1)  # an epoch more than planned is no rise


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr("lmk3d.training.schedule.time", SimpleNamespace(monotonic=lambda: now.s))
    return now


class Run:
    """A training by the clock: steps and validations that take as long as they are told."""

    def __init__(self, clock, *, earlier_s=0.0, max_epochs=1000, length=10):
        self.clock, self.validated, self.kept, self.rates, self.earlier_s = clock, [], [], [], earlier_s
        self.validation_s, self.ended, self.evaluator = 5.0, False, self
        self.engine = SimpleNamespace(
            state=SimpleNamespace(iteration=0, epoch=1, epoch_length=length, max_epochs=max_epochs),
            terminate=lambda: setattr(self, "ended", True),
        )
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        self.scheduler = LambdaLR(optimizer, cosine_decay(10))

    def run(self, _):
        self.clock.s += self.validation_s
        self.validated.append(self.clock.s - 1000)

    def keep(self, engine, *, position=0, finished=False):
        self.kept.append((position, finished))

    def train(self, seconds, step_s, *, validation_s=5.0):
        limit = TimeLimit(seconds, resume=self, scheduler=self.scheduler, validation_s=validation_s)
        limit.begin(self.engine)
        state = self.engine.state
        while not self.ended:
            state.iteration += 1
            state.epoch = (state.iteration - 1) // state.epoch_length + 1
            self.clock.s += step_s(state.iteration)
            self.scheduler.optimizer.step()
            self.scheduler.step()
            self.rates.append(self.scheduler.get_last_lr()[0])
            limit(self.engine)
        return self


@pytest.mark.parametrize(
    ("step_s", "name"),
    [(lambda _: 1.0, "even"), (lambda step: 1.0 + step / 20, "slower and slower"), (lambda _: 30.0, "few")],
)
def test_a_time_is_used_up_and_kept_to_and_the_learning_rate_falls_to_its_end(clock, step_s, name):
    run = Run(clock).train(300, step_s)
    longest = 1.1 * (step_s(run.engine.state.iteration) + 5)
    assert 300 - longest - 5 <= run.validated[-1] <= 300
    assert run.kept[-1] == (0, True)  # the last validation ends the run
    assert run.rates == sorted(run.rates, reverse=True)
    assert run.rates[-1] < (0.1 if name == "few" else 0.02)
    assert 1 <= len(run.validated) * 5 <= 300 / 5 + 5  # a fifth of the time, and the end


def test_validations_come_within_an_epoch_that_is_longer_than_the_time(clock):
    run = Run(clock, length=10_000).train(300, lambda _: 1.0)
    assert len(run.validated) > 3
    position, finished = run.kept[0]
    assert not finished
    assert position == run.validated[0] - 5  # a step a second


def test_epochs_that_are_given_end_a_training_before_its_time(clock):
    run = Run(clock, max_epochs=2).train(300, lambda _: 1.0)
    assert run.engine.state.iteration == 20
    assert run.kept[-1] == (0, True)
    assert run.rates[-1] == pytest.approx(0.01)


def test_a_training_that_resumes_goes_on_where_its_learning_rate_was(clock):
    run = Run(clock, earlier_s=295.0).train(300, lambda _: 1.0)
    assert run.rates[0] == pytest.approx(cosine_decay(590)(296), abs=1e-6)


def test_validations_that_take_longer_than_thought_are_fewer(clock):
    run = Run(clock)
    run.validation_s = 40.0
    run.train(300, lambda _: 1.0, validation_s=5.0)
    assert len(run.validated) == 2
    assert run.validated[-1] <= 300


def test_a_training_within_a_time_ends_in_good_order(tmp_path, tiny_dataset, trainer_of, tiny_plan):
    never = {"epochs": 10**6, "validate_every": 10**6}
    trainer, parser = trainer_of(tmp_path, tiny_plan(tiny_dataset), **never)
    resume, scheduler = (parser.get_parsed_content(f"train#{name}") for name in ("resume", "lr_scheduler"))
    TimeLimit(2.0, resume=resume, scheduler=scheduler, validation_s=0.2).attach(trainer)
    begun = time.monotonic()
    trainer.run()
    assert time.monotonic() - begun < 20  # a busy computer may run late
    last = torch.load(tmp_path / "models" / "last.pt", weights_only=True)
    assert (last["epoch"], last["position"], last["finished"]) == (trainer.state.epoch, 0, True)
    assert (tmp_path / "models" / "model.pt").is_file()
    assert scheduler.get_last_lr()[0] < 0.5 * 2e-3
