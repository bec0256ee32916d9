"""What a training shows of itself."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Events

from lmk3d.terminal import StatusLine
from lmk3d.training import ProgressLine, note_undertrained, run_training


@pytest.mark.parametrize("any_pose", [False, True])
def test_training_lowers_the_loss(tmp_path, tiny_dataset, capsys, any_pose, trainer_of, tiny_plan):
    options = {"any_pose": any_pose, "max_angle": 1.0} if any_pose else {}
    plan = tiny_plan(tiny_dataset, epochs=5, validate_every=5, learning_rate=2e-2, repeats=2, **options)
    trainer, parser = trainer_of(tmp_path / "run", plan)
    means, losses = [], []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"].item())
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: (means.append(np.mean(losses)), losses.clear()))
    trainer.run()
    assert means[-1] < means[0] - 1, means
    network = parser.get_parsed_content("network")
    assert bool(network.shape_covariance.any()) is any_pose
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"training in {tmp_path / 'run'}"
    assert lines[1:3] == ["loading 4 training cases", lines[2]]
    assert lines[3] == "loading 2 validation cases"
    assert lines[4].startswith("epoch 1/5, step 1/4: loss ")
    assert lines[4].endswith(" left")
    assert lines[5].startswith("epoch 1/5: loss heatmap ")
    assert ", refined 1 " in lines[5]
    assert "validation error heatmap " in lines[-1]
    assert lines[-1].count(" mm") == (3 if any_pose and "shape" in lines[-1] else 2)
    assert (tmp_path / "run" / "models" / "model.pt").is_file()
    assert list((tmp_path / "run" / "eval").glob("events*"))  # for TensorBoard


def test_the_progress_line_shows_an_error_once(capsys):
    evaluator = SimpleNamespace(state=SimpleNamespace(metrics={}), add_event_handler=lambda *_: None)
    line = ProgressLine(evaluator)
    line.printed = float("inf")  # no line between
    engine = engine_at(9, max_epochs=9)
    line._begin()
    for value in (1.0, 2.0):
        engine.state.output = {"pred": {"heatmap": torch.tensor(value), "refined 1": torch.tensor(0.25)}}
        line._add(engine)
    evaluator.state.metrics = {"mean_error_mm": 4.0, "mean_error_mm heatmap": 4.0, "mean_error_mm refined 1": 0.5}
    line.fresh = True
    line(engine)
    line(engine)
    first, second = capsys.readouterr().out.splitlines()
    losses = "epoch 3/9: loss heatmap 1.500, refined 1 0.250"
    assert first == f"{losses}, validation error heatmap 4.000 mm, refined 1 0.500 mm (0 s)"
    assert second == f"{losses} (0 s)"


def test_a_progress_line_of_films_without_a_spacing_counts_pixels(capsys):
    evaluator = SimpleNamespace(state=SimpleNamespace(metrics={}), add_event_handler=lambda *_: None)
    line = ProgressLine(evaluator, unit="px")
    evaluator.state.metrics = {"mean_error_mm heatmap": 4.0}
    line.fresh = True
    line(SimpleNamespace(state=SimpleNamespace(epoch=1, max_epochs=1, output=None)))
    assert "heatmap 4.000 px" in capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def engine_at(iteration, *, length=4, max_epochs=5, **state):
    output = {"pred": {"heatmap": torch.tensor(1.0), "refined 1": torch.tensor(0.5)}}
    epoch = (iteration - 1) // length + 1
    return SimpleNamespace(
        state=SimpleNamespace(
            iteration=iteration, epoch=epoch, epoch_length=length, max_epochs=max_epochs, output=output, **state
        )
    )


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr("lmk3d.training.progress.time", SimpleNamespace(monotonic=lambda: now.s))
    return now


def test_a_terminal_shows_step_loss_and_time_left_in_its_last_line(clock, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    line = ProgressLine()
    line.status = StatusLine(terminal := Terminal())
    line._start()
    clock.s += 30
    line._add(engine_at(1))
    clock.s += 30
    line._add(engine_at(2))
    shown = terminal.getvalue().split("\r\033[K")[1:]
    assert shown == [
        "[#.......................] epoch 1/5, step 1/4: loss 1.500, 9 min 30 s left",  # 19 steps of 30 s
        "[##......................] epoch 1/5, step 2/4: loss 1.500, 9 min 0 s left",
    ]
    assert capsys.readouterr().out == ""


def test_into_a_file_a_line_a_minute_is_printed(clock, capsys):
    line = ProgressLine()
    line._start()
    for step in range(1, 8):
        clock.s += 25
        line._add(engine_at(step, length=100, max_epochs=1))
    lines = capsys.readouterr().out.splitlines()
    assert [text.partition(":")[0] for text in lines] == [
        "epoch 1/1, step 1/100",
        "epoch 1/1, step 4/100",
        "epoch 1/1, step 7/100",
    ]
    assert lines[1].endswith("loss 1.500, 40 min 0 s left")  # 96 steps of 25 s


def test_a_budget_shows_its_own_time_and_no_number_of_epochs(clock, capsys):
    line = ProgressLine()
    line._start()
    line._add(engine_at(1, deadline=clock.s + 75))
    assert capsys.readouterr().out == "epoch 1, step 1/4: loss 1.500, 1 min 15 s left\n"


def stopped(error):
    def run():
        raise error

    return SimpleNamespace(run=run, state=SimpleNamespace(iteration=3, epoch=1))


def test_a_training_that_is_stopped_says_how_it_resumes():
    resume = SimpleNamespace(lost=lambda: "stopped; run the same command again to resume")
    with pytest.raises(KeyboardInterrupt, match="stopped; run the same command again to resume"):
        run_training(stopped(KeyboardInterrupt()), resume)


def test_a_validation_no_better_than_the_aligned_mean_shape_is_told(
    tmp_path, tiny_dataset, trainer_of, tiny_plan, capsys
):
    trainer, parser = trainer_of(tmp_path, tiny_plan(tiny_dataset, epochs=1))
    resume = parser.get_parsed_content("train#resume")
    note_undertrained(trainer, resume)  # nothing is known yet
    resume.best = 0.1
    note_undertrained(trainer, resume)
    assert "undertrained" not in capsys.readouterr().out
    resume.best = 9.0
    note_undertrained(trainer, resume)
    said = capsys.readouterr().out
    # Each coordinate of the six shapes has a standard deviation of 1 mm.
    assert 0.2 < float(said.partition("(")[2].partition(" mm)")[0]) < 2
    assert said.startswith("undertrained: the validation error is no better than that of the aligned mean shape (")
