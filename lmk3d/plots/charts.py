"""Charts of errors: a box for each landmark, and the part of the points found within each distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.plots.sheet import new_figure
from lmk3d.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

__all__ = ["box_plot", "cumulative_curve", "learning_curve", "pareto_plot"]

_BLUE, _GREY, _GRID = "#1f5f99", "#6b6b6b", "#e2e2e2"
_FEW = 30
_NARROW = 6.0  # inches; below it a legend beside the axes leaves too little of them
# Line style and colour both change, for print and for colour-blind eyes.
_STYLES = (("-", _BLUE), ((0, (5, 2)), "#b4540a"), ((0, (1, 1.2)), "#4f7f1f"), ((0, (5, 1.5, 1, 1.5)), "#7a3d8f"),
           ((0, (8, 2, 2, 2)), "#444444"), ((0, (3, 1)), "#a01c3f"))  # fmt: skip


def box_plot(errors: Mapping[str, ArrayLike], *, unit: str = "mm", title: str = "", width_inch: float = 9.0) -> Figure:
    """One box for each landmark: quartiles, median, whiskers to 1.5 box lengths, and the points beyond.

    Up to 30 points of a landmark are all drawn: a box of so few hides more than it shows.

    Args:
        errors: distances by name; NaN is a missed point and is counted at the right edge.
        unit: what the distances count.
        title: stands on top.
        width_inch: of the figure.
    """
    names = list(errors)
    arrays = [np.asarray(errors[name], dtype=np.float64).ravel() for name in names]
    figure = new_figure(width_inch, 1.3 + 0.25 * max(len(names), 3))
    axes: Any = figure.add_subplot()
    for height, values in enumerate(arrays):
        _box(axes, values[~np.isnan(values)], height)
        if missed := int(np.isnan(values).sum()):
            place = {"xycoords": ("axes fraction", "data"), "va": "center", "size": 8, "color": _GREY}
            axes.annotate(f"{missed} missed", (1.01, height), **place)
    axes.set_yticks(range(len(names)), [printable(name) for name in names], parse_math=False)
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    _scale(axes, np.concatenate([*arrays, np.empty(0)]))
    axes.set_xlabel(f"error ({unit})")
    _finish(figure, axes, title, "x")
    return figure


def cumulative_curve(
    curves: Mapping[str, ArrayLike], *, unit: str = "mm", title: str = "", width_inch: float = 8.6
) -> Figure:
    """The part of the true points found within each distance.

    Args:
        curves: distances by what the legend calls them, the result itself first: the axis ends a little beyond its
            99th percentile. NaN is a missed point, which no distance reaches.
        unit: what the distances count.
        title: stands on top.
        width_inch: of the figure; the legend stands below the axes where it is narrow.
    """
    figure = new_figure(width_inch, 4.8 if width_inch >= _NARROW else 3.2 + 0.45 * len(curves))
    axes: Any = figure.add_subplot()
    arrays = {name: np.asarray(values, dtype=np.float64).ravel() for name, values in curves.items()}
    first = next(iter(arrays.values()), np.empty(0))
    first = first[~np.isnan(first)]
    end = max(1.25 * float(np.percentile(first, 99)), 1e-3) if len(first) else 1.0
    for number, (name, values) in enumerate(arrays.items()):
        reached = np.sort(values[~np.isnan(values)])
        if not len(reached):
            continue
        percent = 100 * np.arange(len(reached) + 1) / len(values)
        steps = np.concatenate([[0.0], reached, [max(end, reached[-1])]])
        style, color = _STYLES[number % len(_STYLES)]
        look = {"linestyle": style, "color": color, "linewidth": 2.4 if number == 0 else 1.6}
        label = f"{name}\nmean {reached.mean():.3g} {unit}, n = {len(reached)}"
        axes.step(steps, np.append(percent, percent[-1]), where="post", label=label, zorder=3 - 0.1 * number, **look)
    axes.set_xlim(0, end)
    axes.set_ylim(0, 101)
    axes.set_xlabel(f"error ({unit})")
    axes.set_ylabel("points within that error (%)")
    if axes.lines:
        _legend(axes, width_inch)
    _finish(figure, axes, title, "both")
    return figure


def learning_curve(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]], *, across: str, up: str, width_inch: float = 8.6
) -> Figure:
    """How a training went: values over steps or epochs; from zero, logarithmic where they fell more than thirtyfold.

    Args:
        curves: steps and values by what the legend calls them.
        across, up: what the axes count.
        width_inch: of the figure, as in ``cumulative_curve``.
    """
    figure = new_figure(width_inch, 3.0 if width_inch >= _NARROW else 2.7 + 0.22 * len(curves))
    axes: Any = figure.add_subplot()
    for number, (name, (steps, values)) in enumerate(curves.items()):
        style, color = _STYLES[number % len(_STYLES)]
        look = {"linestyle": style, "color": color, "linewidth": 1.8, "label": name}
        axes.plot(steps, values, marker="o" if len(np.atleast_1d(steps)) <= _FEW else "", markersize=3.5, **look)
    everything = np.concatenate([np.asarray(values, dtype=np.float64).ravel() for _, values in curves.values()])
    known = everything[np.isfinite(everything)]
    if len(known) and known.min() > 0 and known.max() > 30 * known.min():
        axes.set_yscale("log")
    elif len(known) and known.min() >= 0:
        axes.set_ylim(0, 1.05 * max(float(known.max()), 1e-9))
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if len(curves) > 1:
        _legend(axes, width_inch)
    _finish(figure, axes, "", "both")
    return figure


def _box(axes: Any, values: FloatArray, height: int) -> None:
    """Drawn by hand: matplotlib's argument for lying boxes changed its name between the versions we support."""
    if not len(values):
        return
    low, median, high = np.percentile(values, [25, 50, 75])
    reach = 1.5 * (high - low)
    left, right = values[values >= low - reach].min(), values[values <= high + reach].max()
    axes.hlines(height, left, right, color=_BLUE, linewidth=1.0, zorder=2)
    axes.barh(height, high - low, left=low, height=0.62, color="#cfe0f0", edgecolor=_BLUE, linewidth=1.0, zorder=2.5)
    axes.vlines(median, height - 0.31, height + 0.31, color=_BLUE, linewidth=2.2, zorder=3)
    shown = values if len(values) <= _FEW else values[(values < left) | (values > right)]
    axes.plot(shown, np.full(len(shown), height), "o", color="#20242a", markersize=2.2, alpha=0.6, zorder=4)


def _scale(axes: Any, values: FloatArray) -> None:
    """From zero; logarithmic where one gross error would press all boxes into a line."""
    measured = values[~np.isnan(values)]
    positive = measured[measured > 0]
    if len(positive) and measured.max() > 15 * max(float(np.median(measured)), 1e-9):
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        axes.set_xscale("log", nonpositive="clip")
        axes.set_xlim(max(positive.min(), 0.02 * float(np.median(positive))) / 1.3, 1.3 * measured.max())
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_xlim(0, 1.05 * measured.max() if len(positive) else 1.0)


def _legend(axes: Any, width_inch: float) -> None:
    look = {"frameon": False, "fontsize": 9}
    if width_inch >= _NARROW:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=1.0, **look)
    else:
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.2), labelspacing=0.6, **look)


def _finish(figure: Figure, axes: Any, title: str, grid: str) -> None:
    axes.set_title(printable(title), loc="left", size=11, parse_math=False)
    axes.grid(axis=grid, color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.set_layout_engine("constrained")


def pareto_plot(goals: Mapping[str, ArrayLike], front: ArrayLike) -> Figure:
    """Trials of a search as points: one goal across, the other up, or the trial's number across where there is one.

    Args:
        goals: one or two, each (T,) values by name; NaN is left out.
        front: (T,) which trials no other beats; they are joined.
    """
    names, values = list(goals), [np.asarray(own, dtype=np.float64) for own in goals.values()]
    best = np.asarray(front, dtype=bool)
    across, up = (values[0], values[1]) if len(values) > 1 else (np.arange(len(values[0]), dtype=float), values[0])
    figure = new_figure(6.0, 4.2)
    axes = figure.add_axes((0.14, 0.14, 0.82, 0.78))
    axes.scatter(across[~best], up[~best], s=26, color=_GREY, label="trials")
    order = np.argsort(across[best])
    axes.plot(across[best][order], up[best][order], "-o", color=_BLUE, markersize=6, label="no other is better")
    for number in np.flatnonzero(best):
        axes.annotate(str(number), (across[number], up[number]), (5, 5), textcoords="offset points", fontsize=8)
    axes.margins(0.08)
    axes.set_xlabel(_words(names[0]) if len(names) > 1 else "trial")
    axes.set_ylabel(_words(names[-1]))
    axes.grid(color=_GRID)
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
    return figure


def _words(metric: str) -> str:
    """A metric's name as words, its unit in brackets."""
    text, _, unit = metric.rpartition("_")
    return f"{text.replace('_', ' ')} ({unit})" if unit in ("mm", "px") else metric.replace("_", " ")
