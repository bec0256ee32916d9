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


class Evaluator:
    """Five cases by the clock."""

    def __init__(self, clock, validation_s):
        self.clock, self.validation_s, self.done_s, self.stopped = clock, validation_s, [], False
        self.state = SimpleNamespace(iteration=0, epoch_length=5)

    def add_event_handler(self, _, handler):
        self.handler = handler

    def terminate(self):
        self.stopped = True

    def run(self, _):
        self.stopped, self.state.iteration = False, 0
        while self.state.iteration < 5 and not self.stopped:
            self.clock.s += self.validation_s / 5
            self.state.iteration += 1
            self.handler(self)
        self.done_s.append(self.clock.s - 1000)


class Run:
    """A training by the clock: steps and validations that take as long as they are told."""

    def __init__(self, clock, *, earlier_s=0.0, max_epochs=1000, length=10, validation_s=5.0):
        self.clock, self.kept, self.rates, self.stored, self.earlier_s = clock, [], [], [], earlier_s
        self.ended, self.evaluator = False, Evaluator(clock, validation_s)
        self.validated = self.evaluator.done_s
        self.engine = SimpleNamespace(
            state=SimpleNamespace(iteration=0, epoch=1, epoch_length=length, max_epochs=max_epochs),
            terminate=lambda: setattr(self, "ended", True),
            add_event_handler=lambda *_: None,
        )
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        self.scheduler = LambdaLR(optimizer, cosine_decay(10))

    def store_before(self, engine, seconds):
        self.stored.append(seconds)

    def keep(self, engine, *, within=False, finished=False):
        self.kept.append((within, finished))

    def train(self, seconds, step_s, *, validation_s=5.0, closing_s=0.0):
        limit = TimeLimit(
            seconds, resume=self, scheduler=self.scheduler, validation_s=validation_s, closing_s=closing_s
        )
        limit.attach(self.engine)
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
    [(lambda _: 1.0, "even"), (lambda step: 1.0 + step / 100, "slower and slower"), (lambda _: 30.0, "few")],
)
def test_a_time_is_used_up_and_kept_to_and_the_learning_rate_falls_to_its_end(clock, step_s, name):
    run = Run(clock).train(300, step_s)
    longest = 1.1 * (step_s(run.engine.state.iteration) + 5)
    assert 300 - longest - 5 <= run.validated[-1] <= 300
    assert run.kept[-1] == (False, True)  # the last validation ends the run
    assert all(later <= earlier + 0.01 for earlier, later in zip(run.rates, run.rates[1:], strict=False))
    assert run.rates[-1] < (0.1 if name == "few" else 0.02)
    assert len(run.stored) == len(run.validated)  # a checkpoint before each, where a kill would lose too much
    assert 1 <= len(run.validated) * 5 <= 300 / 5 + 5  # a fifth of the time, and the end


def test_validations_come_within_an_epoch_that_is_longer_than_the_time(clock):
    run = Run(clock, length=10_000).train(300, lambda _: 1.0)
    assert len(run.validated) > 3
    assert run.kept[0] == (True, False)


def test_epochs_that_are_given_end_a_training_before_its_time(clock):
    run = Run(clock, max_epochs=2).train(300, lambda _: 1.0)
    assert run.engine.state.iteration == 20
    assert run.kept[-1] == (False, True)
    assert run.rates[-1] == pytest.approx(0.01)


def test_a_training_that_resumes_goes_on_where_its_learning_rate_was(clock):
    run = Run(clock, earlier_s=295.0).train(300, lambda _: 1.0)
    assert run.rates[0] == pytest.approx(cosine_decay(590)(296), abs=1e-6)


def test_a_validation_that_takes_far_longer_than_planned_is_stopped_and_says_so(clock, capsys):
    run = Run(clock, validation_s=200.0).train(300, lambda _: 1.0)  # 5 s were planned
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["validation stopped by the time limit after 1 of 5 cases"]  # then the last one fits as a whole
    assert run.validated[-1] <= 300
    assert run.kept == [(False, True)]  # what a part of the cases says is not compared with the whole


def test_time_is_kept_for_what_follows_more_on_a_machine_that_gets_busier(clock):
    run = Run(clock).train(300, lambda _: 1.0, closing_s=50.0)
    assert 230 < run.validated[-1] <= 250
    clock.s, run = 1000.0, Run(clock)

    def step_s(step):
        if step > 100:
            run.evaluator.validation_s = 10.0
        return 2.0 if step > 100 else 1.0

    run.train(300, step_s, closing_s=50.0)
    assert 180 < run.validated[-1] <= 200


def test_a_training_goes_on_where_a_busy_while_made_its_end_come_too_early(clock):
    run = Run(clock).train(300, lambda step: 4.0 if 60 <= step < 80 else 1.0, closing_s=50.0)
    assert 230 < run.validated[-1] <= 250
    assert run.kept[-1] == (False, True)
    assert run.rates[-1] < 0.02


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
