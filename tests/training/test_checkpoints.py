"""Checkpoints: runs that were killed end as if nothing had been."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer

from lmk3d.errors import InputError
from lmk3d.training import Resume, is_finished


def weights(folder, name="last.pt"):
    state = torch.load(folder / "models" / name, weights_only=True)
    return state.get("network", state)


def assert_same(one, two):
    assert list(one) == list(two)
    assert not [name for name in one if not torch.equal(one[name], two[name])]


def killed_in(trainer, *, epoch):
    """Run a training that dies after the first step of an epoch."""

    def kill(engine):
        if engine.state.epoch == epoch:
            raise RuntimeError("killed")

    trainer.add_event_handler(Events.ITERATION_COMPLETED, kill)
    with pytest.raises(RuntimeError, match="killed"):
        trainer.run()


def killed_at(trainer, *, step):
    """Run a training that dies behind a step, whatever epoch that is in."""

    def kill(engine):
        if engine.state.iteration == step:
            raise RuntimeError("killed")

    trainer.add_event_handler(Events.ITERATION_COMPLETED, kill)
    with pytest.raises(RuntimeError, match="killed"):
        trainer.run()


def test_a_killed_run_ends_with_the_same_weights(tmp_path, tiny_dataset, capsys, trainer_of, tiny_plan):
    plan = tiny_plan(tiny_dataset)
    trainer_of(tmp_path / "whole", plan)[0].run()
    killed_in(trainer_of(tmp_path / "killed", plan)[0], epoch=3)
    assert torch.load(tmp_path / "killed" / "models" / "last.pt", weights_only=True)["epoch"] == 2
    torch.rand(7), np.random.rand(3)  # noqa: NPY002 - what else draws in between must not matter
    second, _ = trainer_of(tmp_path / "killed", plan)
    second.run()
    assert second.state.epoch == 4
    assert "resumed after epoch 2" in capsys.readouterr().out
    for name in ("last.pt", "model.pt"):
        assert_same(weights(tmp_path / "whole", name), weights(tmp_path / "killed", name))
    assert not list(tmp_path.rglob("*.part"))  # nothing half-written is left


def test_no_more_than_a_minute_is_lost_between_two_validations(
    tmp_path, tiny_dataset, monkeypatch, trainer_of, tiny_plan
):
    plan = tiny_plan(tiny_dataset, epochs=6, validate_every=4)
    trainer_of(tmp_path / "whole", plan)[0].run()
    monkeypatch.setattr("lmk3d.training.checkpoints._MOST_LOST_S", 0.0)
    killed_in(trainer_of(tmp_path / "killed", plan)[0], epoch=4)
    last = torch.load(tmp_path / "killed" / "models" / "last.pt", weights_only=True)
    assert (last["epoch"], last["position"]) == (3, 1)
    assert not (tmp_path / "killed" / "models" / "model.pt").exists()  # no validation has spoken yet
    trainer_of(tmp_path / "killed", plan)[0].run()
    for name in ("last.pt", "model.pt"):
        assert_same(weights(tmp_path / "whole", name), weights(tmp_path / "killed", name))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", [1, 3, 4, 6, 7])
def test_a_run_that_is_killed_at_any_step_ends_with_the_same_weights(
    tmp_path, tiny_dataset, trainer_of, tiny_plan, monkeypatch, step, workers
):
    plan = tiny_plan(tiny_dataset, epochs=2, repeats=2)  # four steps an epoch, a validation after the eighth
    changes = {"train#dataloader#num_workers": workers}
    trainer_of(tmp_path / "whole", plan, **changes)[0].run()
    monkeypatch.setattr("lmk3d.training.checkpoints._MOST_LOST_S", 0.0)
    trainer, _ = trainer_of(tmp_path / "killed", plan, **changes)
    killed_at(trainer, step=step)
    torch.rand(7), np.random.rand(3)  # noqa: NPY002 - what else draws in between must not matter
    again, _ = trainer_of(tmp_path / "killed", plan, **changes)
    seen = []
    again.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(engine.state.iteration))
    again.run()
    assert seen == list(range(step + 1, 9))  # no step is made twice
    for name in ("last.pt", "model.pt"):
        assert_same(weights(tmp_path / "whole", name), weights(tmp_path / "killed", name))


def test_steps_that_were_made_are_not_loaded_again(tmp_path, tiny_dataset, trainer_of, tiny_plan, monkeypatch):
    monkeypatch.setattr("lmk3d.training.checkpoints._MOST_LOST_S", 0.0)
    plan = tiny_plan(tiny_dataset, epochs=1, repeats=2, validate_every=1)
    killed_at(trainer_of(tmp_path, plan)[0], step=3)
    again, parser = trainer_of(tmp_path, plan)
    read, transform = [], parser.get_parsed_content("train#preprocessing").transforms[-1]
    call = type(transform).__call__
    monkeypatch.setattr(type(transform), "__call__", lambda self, data: read.append(1) or call(self, data))
    again.run()
    assert len(read) == 2  # the two cases of the fourth step


@pytest.mark.parametrize("case", [1, 2])
def test_a_run_that_is_killed_in_its_validation_goes_on_with_the_next_case(
    tmp_path, tiny_dataset, trainer_of, tiny_plan, monkeypatch, case
):
    plan = tiny_plan(tiny_dataset, epochs=2, validate_every=1)
    trainer_of(tmp_path / "whole", plan)[0].run()
    trainer, parser = trainer_of(tmp_path / "killed", plan)
    monkeypatch.setattr("lmk3d.training.checkpoints._MOST_LOST_S", 0.0)
    evaluator = parser.get_parsed_content("validate#evaluator")

    def kill(engine):
        if engine.state.iteration == case:
            raise RuntimeError("killed")

    evaluator.add_event_handler(Events.ITERATION_STARTED, kill)
    with pytest.raises(RuntimeError, match="killed"):
        trainer.run()
    last = torch.load(tmp_path / "killed" / "models" / "last.pt", weights_only=True)
    assert (last["epoch"], last["position"]) == (0, 2)  # both steps of the first epoch, which is not validated yet
    again, parser = trainer_of(tmp_path / "killed", plan)
    detector, seen = parser.get_parsed_content("detector"), []
    detect = type(detector).detect_stages
    monkeypatch.setattr(type(detector), "detect_stages", lambda self, volume: seen.append(1) or detect(self, volume))
    again.run()
    assert len(seen) == 4 - (case - 1)  # two cases, two validations
    for name in ("last.pt", "model.pt"):
        assert_same(weights(tmp_path / "whole", name), weights(tmp_path / "killed", name))


def test_other_batches_within_an_epoch_are_refused(tmp_path, tiny_dataset, trainer_of, tiny_plan, monkeypatch):
    monkeypatch.setattr("lmk3d.training.checkpoints._MOST_LOST_S", 0.0)
    plan = tiny_plan(tiny_dataset, repeats=2)
    killed_at(trainer_of(tmp_path, plan)[0], step=1)
    with pytest.raises(
        InputError, match=r"last.pt: was written within an epoch of 4 steps, which has 8 now; train with"
    ):
        trainer_of(tmp_path, plan, **{"train#dataloader#batch_size": 1})[0].run()


def test_a_finished_run_says_so_and_how_to_go_on(tmp_path, tiny_dataset, trainer_of, tiny_plan, capsys):
    plan = tiny_plan(tiny_dataset, epochs=1, validate_every=1)
    assert not is_finished(tmp_path / "models" / "last.pt")
    trainer_of(tmp_path, plan)[0].run()
    assert is_finished(tmp_path / "models" / "last.pt")
    capsys.readouterr()
    trainer_of(tmp_path, plan)[0].run()
    said = f"finished: 1 epoch of 1 done in {tmp_path / 'models'}; for more, set epochs above 1; for another"
    assert said in capsys.readouterr().out
    trainer_of(tmp_path, plan, epochs=2)[0].run()
    assert "resumed after epoch 1 from" in capsys.readouterr().out


def test_two_epochs_and_two_more_are_four(tmp_path, tiny_dataset, trainer_of, tiny_plan):
    plan = tiny_plan(tiny_dataset)
    schedule = {"train#lr_scheduler#lr_lambda": "$lmk3d.training.cosine_decay(8)"}
    trainer_of(tmp_path / "whole", plan, **schedule)[0].run()
    trainer_of(tmp_path / "parts", plan, epochs=2, **schedule)[0].run()
    trainer_of(tmp_path / "parts", plan, epochs=4, **schedule)[0].run()
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    ended, _ = trainer_of(tmp_path / "parts", plan, epochs=4, **schedule)
    ended.run()  # has nothing left to do
    assert ended.state.epoch == 4
    assert_same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))


def test_another_seed_gives_other_weights(tmp_path, tiny_dataset, trainer_of, tiny_plan):
    plan = tiny_plan(tiny_dataset, epochs=1)
    for seed in (0, 1):
        trainer_of(tmp_path / str(seed), plan, seed=seed)[0].run()
    assert not torch.equal(*(weights(tmp_path / str(seed))["heatmap.head.weight"] for seed in (0, 1)))


def resume_of(folder, *, evaluator=None, interval=1):
    network = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    save = {"network": network, "optimizer": optimizer}
    return Resume(folder, save, evaluator=evaluator, interval=interval), network, optimizer


def engine_of(resume, network, optimizer, epochs, *handlers):
    data = [{"image": torch.ones(1, 2), "label": torch.zeros(1, 1)}] * 2
    return SupervisedTrainer(
        torch.device("cpu"), epochs, data, network, optimizer, torch.nn.MSELoss(), train_handlers=[*handlers, resume],
        decollate=False,
    )  # fmt: skip


def test_the_best_weights_are_those_of_the_best_validation(tmp_path):
    evaluator = SimpleNamespace(state=SimpleNamespace(metrics={}))
    resume, network, optimizer = resume_of(tmp_path, evaluator=evaluator)
    errors, at = iter([3.0, 1.0, 2.0, float("nan")]), {}
    engine = engine_of(resume, network, optimizer, 4)

    def validate(engine):
        evaluator.state.metrics = {"mean_error_mm": next(errors)}
        at[engine.state.epoch] = network.weight.detach().clone()

    engine.add_event_handler(Events.ITERATION_COMPLETED(every=2), validate)
    engine.run()
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=True)["weight"], at[2])
    last = torch.load(tmp_path / "last.pt", weights_only=True)
    assert torch.equal(last["network"]["weight"], at[4])
    assert (last["epoch"], last["best"]) == (4, 1.0)


def test_without_any_validation_the_end_is_kept(tmp_path):
    evaluator = SimpleNamespace(state=SimpleNamespace(metrics={}))
    resume, network, optimizer = resume_of(tmp_path, evaluator=evaluator, interval=5)
    engine_of(resume, network, optimizer, 3).run()
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=True)["weight"], network.weight)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 3


def test_a_broken_checkpoint_is_named_and_not_overwritten(tmp_path):
    (tmp_path / "last.pt").write_bytes(b"broken")
    resume, network, optimizer = resume_of(tmp_path)
    with pytest.raises(
        InputError, match=r"last.pt: no training can go on from it \(.*\); remove it to begin anew, or train into"
    ):
        engine_of(resume, network, optimizer, 1).run()
    assert (tmp_path / "last.pt").read_bytes() == b"broken"


def test_a_checkpoint_of_another_network_is_named(tmp_path):
    resume, network, optimizer = resume_of(tmp_path)
    engine_of(resume, network, optimizer, 1).run()
    other = torch.nn.Linear(3, 1)
    again = Resume(tmp_path, {"network": other, "optimizer": optimizer})
    with pytest.raises(InputError, match=r"last.pt: no training can go on from it \(.*size mismatch for weight"):
        engine_of(again, other, optimizer, 1).run()


def test_the_scale_of_half_precision_gradients_comes_back(tmp_path):
    class Scaler:
        scale = 2.0

        def state_dict(self):
            return {"scale": self.scale}

        def load_state_dict(self, state):
            self.scale = state["scale"]

    def run(epochs, scaler):
        resume, network, optimizer = resume_of(tmp_path)
        # The trainer makes its scaler when it runs, and on a GPU alone: this stands in for it.
        making = SimpleNamespace(
            attach=lambda engine: engine.add_event_handler(Events.STARTED, lambda: setattr(engine, "scaler", scaler))
        )
        engine_of(resume, network, optimizer, epochs, making).run()

    run(1, Scaler())
    fresh = Scaler()
    fresh.scale = 65536.0
    run(2, fresh)
    assert fresh.scale == 2.0


def test_checkpoints_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    resume, network, optimizer = resume_of(tmp_path)
    engine_of(resume, network, optimizer, 1).run()
    before = (tmp_path / "last.pt").read_bytes(), (tmp_path / "model.pt").read_bytes()

    def fail(state, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        engine_of(*resume_of(tmp_path), 2).run()
    assert ((tmp_path / "last.pt").read_bytes(), (tmp_path / "model.pt").read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "model.pt"]


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def fail(state, path):
        raise RuntimeError("PytorchStreamWriter failed writing file data/3:\nfile write failed")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(InputError, match=r"model.pt: cannot be written \(PytorchStreamWriter .* free some space"):
        engine_of(*resume_of(tmp_path), 1).run()
    assert not list(tmp_path.iterdir())
