"""A search of a bundle's weights: trainings one after another, and which of them no other beats in everything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.configure.run import parsed
from lmk3d.errors import InputError
from lmk3d.io.csv_files import write_csv
from lmk3d.terminal import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Range", "Trial", "pareto_front", "tune"]


@dataclass(frozen=True)
class Range:
    """Between which numbers an entry of train.json is searched, evenly in its logarithm where ``log``."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Trial:
    """One training: what was set, and what the last validation said of each goal; NaN where it said nothing."""

    number: int
    values: dict[str, float]
    goals: dict[str, float]


def tune(  # noqa: PLR0913 - each is an argument of the command
    bundle: Path,
    output: Path,
    search: Mapping[str, Range],
    *,
    least: Sequence[str] = ("mean_error_mm",),
    most: Sequence[str] = (),
    trials: int = 20,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> list[Trial]:
    """Train a bundle again and again with other numbers in it; see which are the best, by Optuna's TPE.

    Writes trials.csv, a line for each training with its numbers and goals and whether it is on the Pareto front, and
    pareto.png, both anew after every training; the trainings themselves lie in trial-0, trial-1, ...

    Args:
        bundle: a folder with train.json.
        output: folder to write to.
        search: by id of an entry of train.json, what it may be.
        least, most: metrics of the validation that are to be small, or large; two or more have a Pareto front.
        trials: how many trainings.
        overrides: other values of train.json by id, such as {"epochs": 10}.
        seed: of the search.
    Raises:
        InputError: if Optuna is not installed, nothing is searched, an entry is none of train.json, or a goal is none
            of the validation's metrics.
    Source:
        DenseSeg 2024, sec. 3.4: 150 trials of a TPE for its loss weights. Sampler: Bergstra et al. 2011.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise InputError("lmk3d tune needs Optuna, which is not installed; run pip install 'lmk3d[tune]'") from error
    if not search:
        raise InputError("nothing to search; give --search KEY=LOW:HIGH, such as objective#first#uv=0.1:1:log")
    for name in search:  # before an hour is spent
        parsed(bundle, {name: 1.0})
    goals = (*least, *most)
    done: list[Trial] = []

    def run(trial: Any) -> list[float]:
        values = {name: trial.suggest_float(name, one.low, one.high, log=one.log) for name, one in search.items()}
        folder = output / f"trial-{trial.number}"
        found = _trained(bundle, {**(overrides or {}), **values, "bundle_root": str(folder.resolve())})
        if unknown := [goal for goal in goals if goal not in found]:
            raise InputError(f"the validation has no {unknown[0]!r}; it has {', '.join(sorted(found))}")
        done.append(Trial(trial.number, values, {goal: found[goal] for goal in goals}))
        _write(output, done, least, most)
        said = ", ".join(f"{name} {value:.4g}" for name, value in (values | done[-1].goals).items())
        say(f"trial {trial.number + 1} of {trials}: {said}")
        worst = {**dict.fromkeys(least, math.inf), **dict.fromkeys(most, -math.inf)}
        return [found[goal] if math.isfinite(found[goal]) else worst[goal] for goal in goals]

    output.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = ["minimize"] * len(least) + ["maximize"] * len(most)
    study = optuna.create_study(directions=directions, sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(run, n_trials=trials)
    return done


def _trained(bundle: Path, changes: Mapping[str, Any]) -> dict[str, float]:
    """Run a training; the metrics of its last validation."""
    parser = parsed(bundle, changes)
    if "initialize" in parser:
        parser.get_parsed_content("initialize")
    parser.get_parsed_content("train#trainer").run()
    return dict(parser.get_parsed_content("validate#evaluator").state.metrics)


def pareto_front(costs: ArrayLike) -> NDArray[np.bool_]:
    """Which rows of (T, G) costs no other row beats or equals in every column and beats in one; NaN is beaten by all.

    >>> pareto_front([[1, 4], [2, 2], [3, 3], [2, 2]]).tolist()
    [True, True, False, True]
    """
    table = np.nan_to_num(np.asarray(costs, dtype=np.float64), nan=np.inf)
    no_worse = (table[:, None] <= table[None]).all(2)
    better = (table[:, None] < table[None]).any(2)
    return np.asarray(~(no_worse & better).any(0) & np.isfinite(table).all(1))


def _write(output: Path, done: Sequence[Trial], least: Sequence[str], most: Sequence[str]) -> None:
    from lmk3d.plots import pareto_plot, save_figure

    goals = (*least, *most)
    costs = np.array([[(-1 if goal in most else 1) * trial.goals[goal] for goal in goals] for trial in done])
    front = pareto_front(costs)
    lines: list[list[object]] = [
        [trial.number, *trial.values.values(), *trial.goals.values(), "yes" if best else ""]
        for trial, best in zip(done, front, strict=True)
    ]
    write_csv([["trial", *done[0].values, *goals, "pareto"], *lines], output / "trials.csv")
    points = {goal: [trial.goals[goal] for trial in done] for goal in goals[:2]}
    save_figure(pareto_plot(points, front), output / "pareto.png")
