"""The page of ``lmk3d report``: how good a detector is, how it was trained, on what data, with which versions."""

from __future__ import annotations

import base64
import math
from functools import partial
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from lmk3d.io import atomic_path
from lmk3d.manifest import versions
from lmk3d.pages.html import document, table
from lmk3d.pages.results import read_results
from lmk3d.plots import box_plot, cumulative_curve, inline_svg, learning_curve
from lmk3d.report import RESULT, TRUSTED, remarks, summary_table
from lmk3d.terminal import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from lmk3d.metrics import Summary
    from lmk3d.pages.results import Evaluation, Picture, Training

__all__ = ["write_report"]

_SLIM_INCH = 4.6  # at which a chart's text is still read on a phone


def write_report(folders: Sequence[Path], path: Path) -> None:
    """Write one HTML page of what ``lmk3d evaluate`` and ``lmk3d train`` left; it needs no file beside it.

    Args:
        folders: of an evaluation, of a training (whose own evaluation is taken where there is no other), or both.
        path: the page.
    Raises:
        InputError: if a folder holds no results, one of its files is damaged, or the page cannot be written.
    """
    evaluation, training = read_results(folders)
    sections: list[tuple[str, str, str]] = []
    if evaluation is not None:
        sections += _evaluated(evaluation)
    if training is not None:
        sections += _trained(training)
    sections.append(_versions(evaluation))
    title = _title(evaluation, training)
    links = "".join(f'<a href="#{name}">{escape(head)}</a>' for name, head, _ in sections)
    body = [f'<header><h1>{escape(title)}</h1><p class="faint">{escape(_about(evaluation))}</p>']
    body += [f'<nav aria-label="Parts of this page">{links}</nav></header><main>']
    body += [f'<section id="{name}"><h2>{escape(head)}</h2>{content}</section>' for name, head, content in sections]
    text = document(title, "".join([*body, "</main>"]), styles=("base.css", "report.css"))
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _title(evaluation: Evaluation | None, training: Training | None) -> str:
    if evaluation is None:
        return f"Training of {training.name if training else ''}"
    about = evaluation.summary.about
    named = " on ".join(value for key in ("detector", "dataset") if (value := about.get(key)))
    return named or "Evaluation"


def _about(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "not evaluated yet: lmk3d evaluate measures the errors"
    summary = evaluation.summary
    section, made = summary.about.get("section"), summary.about.get("created", "")
    cases = f"{counted(summary.cases, 'case')}{f' of the section {section}' if section else ''}"
    unit = "errors in mm" if summary.unit == "mm" else "errors in pixels, since the images have no spacing"
    return ", ".join(filter(None, (cases, unit, made.partition("T")[0])))


def _evaluated(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    summary, errors = evaluation.summary, evaluation.errors
    heads, *cells = summary_table(summary)
    rows = [[head.replace("<=", "≤ ") for head in heads], *cells]
    own, beside = rows[: len(summary.result.landmarks) + 2], rows[len(summary.result.landmarks) + 1 :]
    pooled = {name: np.concatenate([*own.values(), np.empty(0)]) for name, own in errors.items()}
    result = errors.get(RESULT, {})
    boxes = partial(box_plot, result, unit=summary.unit)
    curves = partial(cumulative_curve, pooled, unit=summary.unit)
    compared = [["set", *rows[0][1:]], [RESULT, *beside[0][1:]], *beside[1:]]
    return [
        ("summary", "Summary", _cards(summary) + _words(summary)),
        (
            "landmarks",
            "Each landmark",
            _chart(
                boxes, f"Box plot of the errors of {counted(len(result), 'landmark')}; the table below has the numbers."
            )
            + table(own, caption=f"Errors of each landmark in {summary.unit}"),
        ),
        (
            "distances",
            "Within which distance",
            _chart(curves, "Part of the points found within each distance, of the result and what it is compared with.")
            + table(compared, caption="The result and what it is compared with"),
        ),
        ("worst", "Worst cases", _worst(evaluation)),
    ]


def _cards(summary: Summary) -> str:
    overall, unit = summary.result.overall, summary.unit
    cards = [
        ("mean error", _number(overall.mean), unit),
        ("median error", _number(overall.median), unit),
        ("95th percentile", _number(overall.p95), unit),
    ]
    if overall.sdr:
        at = list(overall.sdr)[len(overall.sdr) // 2]
        cards.append((f"within {at:g} {unit}", _number(100 * overall.sdr[at], 1), "%"))
    if summary.radii is not None and summary.radii.overall.n:
        promised = f"within the {100 * summary.radii.coverage:.4g} % radius"
        cards.append((promised, _number(100 * summary.radii.overall.within, 1), "%"))
        cards.append(("median radius", _number(summary.radii.overall.median), unit))
    if (trusted := summary.beside.get(TRUSTED)) is not None:
        cards.append(("points trusted", str(trusted.overall.n), f"of {overall.n} found"))
    cards.append(("points missed", str(overall.missed), f"of {overall.n + overall.missed}"))
    shown = "".join(f"<li><b>{value}</b> <small>{own}</small><span>{name}</span></li>" for name, value, own in cards)
    return f'<ul class="cards">{shown}</ul>'


def _words(summary: Summary) -> str:
    """The figures as two or three sentences."""
    found = {name: own for name, own in summary.result.landmarks.items() if own.n}
    said = []
    if len(found) > 1:
        best, worst = (choose(found, key=lambda name: found[name].median) for choose in (min, max))
        said.append(
            f"By its median error, {best} is found best ({_number(found[best].median)} {summary.unit}) and {worst} "
            f"worst ({_number(found[worst].median)} {summary.unit})."
        )
    rater = summary.beside.get("second rater")
    if rater is not None and rater.overall.n:
        said.append(f"A second rater is {_number(rater.overall.mean)} {summary.unit} off on average.")
    return "".join(f"<p>{escape(line)}</p>" for line in (*said, *remarks(summary)))


def _worst(evaluation: Evaluation) -> str:
    heads = [
        "case",
        "landmark",
        f"error {evaluation.summary.unit}",
        "confidence",
        f"{'expected' if evaluation.summary.radii is None else 'radius'} {evaluation.summary.unit}",
    ]
    assessed = TRUSTED in evaluation.summary.beside
    heads += ["trusted"] if assessed else []
    keys = (("error", 2), ("confidence", 2), ("expected", 2))
    rows = [
        [
            row["case"],
            row["landmark"],
            *("missed" if key == "error" and not row[key] else _text(row[key], digits) for key, digits in keys),
            *([row.get("trusted") or "–"] if assessed else []),
        ]
        for row in evaluation.worst
    ]
    pictures = "".join(_figure(picture) for picture in evaluation.pictures)
    shown = f'<div class="pictures">{pictures}</div>' if pictures else ""
    return shown + (table([heads, *rows], caption="Missed points and the largest errors") if rows else "")


def _figure(picture: Picture) -> str:
    code, title = base64.b64encode(picture.png).decode("ascii"), escape(picture.title)
    about = escape(f"Truth and prediction in one cut: {picture.title}")
    return f'<figure><img src="data:image/png;base64,{code}" alt="{about}"><figcaption>{title}</figcaption></figure>'


def _trained(training: Training) -> list[tuple[str, str, str]]:
    parts = []
    errors = {name: curve for name, curve in training.validation.items() if "error" in name}
    rates = {name: curve for name, curve in training.validation.items() if name not in errors}
    for curves, across, up in (
        (training.loss, "step", "loss"),
        (errors, "epoch", "validation error"),
        (rates, "epoch", "validation, parts of 1"),
    ):
        if curves:
            spelt = {name.replace("_", " "): curve for name, curve in curves.items()}
            said = next(iter(spelt)) if len(spelt) == 1 and across == "epoch" else up
            draw = partial(learning_curve, spelt, across=across, up=said)
            parts.append(_chart(draw, f"{said.capitalize()} at each {across} of the training."))
    if not parts:
        parts.append("<p>No curves: there are no TensorBoard files in the folder eval of the bundle.</p>")
    parts.append("<h3>Settings in train.json</h3>" + _pairs(training.settings.items()))
    sections = [("training", "Training", "".join(parts))]
    return sections + ([("data", "Data", _pairs(training.data))] if training.data else [])


def _versions(evaluation: Evaluation | None) -> tuple[str, str, str]:
    """Those that the evaluation ran with, else those of this report."""
    said = "" if evaluation is None else evaluation.summary.about.get("versions", "")
    made = [part.partition(" ")[::2] for part in said.split(", ") if part]
    what = "The evaluation ran with:" if made else "This page was made with:"
    return "versions", "Versions", f"<p>{what}</p>{_pairs(made or versions().items())}"


def _pairs(pairs: Iterable[tuple[str, object]]) -> str:
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(said))}</dd>" for name, said in pairs)
    return f"<dl>{lines}</dl>"


def _chart(draw: Callable[..., Figure], label: str) -> str:
    """The chart twice, for a wide and for a narrow screen; the page shows one of them."""
    broad, slim = (inline_svg(figure, label=label) for figure in (draw(), draw(width_inch=_SLIM_INCH)))
    return f'<div class="broad">{broad}</div><div class="slim">{slim}</div>'


def _number(value: float, digits: int = 2) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _text(value: str, digits: int) -> str:
    return _number(float(value) if value else math.nan, digits)
