"""Preview of predicted landmarks, for a reader who wants to see at a glance whether they lie where they should."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.landmarks import VERDICTS
from lmk3d.plots.planes import STANDARD_PLANES, field_of_view, film_plane, grey_window, whole_cut
from lmk3d.plots.sheet import DOUBT, FAINT, TEXT, UNLIKE, Sheet, View, fit, save_figure, text_width

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from lmk3d.geometry import Volume
    from lmk3d.landmarks import Landmarks
    from lmk3d.plots.sheet import Spot

    _Block = tuple[str, tuple[str, str], NDArray[np.float64], dict[str, Any] | None]

__all__ = ["preview", "save_preview"]

_PER_PAGE = 15
_HEAD, _LINE, _EDGE = 46.0, 17.0, 12.0


def preview(volume: Volume, landmarks: Landmarks, *, title: str = "", fov_mm: float | None = None) -> list[Figure]:
    """Show where the landmarks lie: three planes through each, or for a film one picture with all of them.

    Args:
        volume: the image; depth one makes it a film.
        landmarks: world RAS mm. Missing ones are listed below the pictures, with the presence score where there is one.
            Points that are not trusted have broken crosses and the verdict in place of confidence and error. Without
            any point the middle of the volume is shown.
        title: what stands on top, usually the file's name.
        fov_mm: side of each picture; 0.4 of the image's middle side when None.
    Returns:
        The pages, up to 15 landmarks each; a film has one.
    """
    if volume.grid.shape[2] == 1:
        return [_film(volume, landmarks, title)]
    present = np.flatnonzero(landmarks.present)
    side_mm = field_of_view(volume.grid, 0.4) if len(present) else float(volume.grid.sides_mm.max())
    side_mm = side_mm if fov_mm is None else fov_mm
    count = max(1, -(-len(present) // _PER_PAGE))
    pages = []
    for number, rows in enumerate(np.array_split(present, count), start=1):
        page = f"page {number} of {count},  " if count > 1 else ""
        pages.append(_page(volume, landmarks, rows, (title, page), side_mm))
    return pages


def save_preview(volume: Volume, landmarks: Landmarks, path: Path, *, title: str = "") -> list[Path]:
    """Write ``preview`` as PNG: one page to ``path``, more to ``path`` with -1, -2, ... before the suffix.

    Returns:
        The files written.
    """
    pages = preview(volume, landmarks, title=title)
    several = [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, len(pages) + 1)]
    paths = [path] if len(pages) == 1 else several
    for figure, page in zip(pages, paths, strict=True):
        save_figure(figure, page)
    return paths


def _page(
    volume: Volume, landmarks: Landmarks, rows: NDArray[np.intp], title: tuple[str, str], side_mm: float
) -> Figure:
    """A grid of blocks, each with a landmark's name, how sure it is, and its three planes."""
    columns, width = (1, 1080.0) if len(rows) <= 3 else (2, 1400.0) if len(rows) <= 8 else (3, 1640.0)
    block = (width - 2 * _EDGE - (columns - 1) * 22) / columns
    side = (block - 12) / 3
    foot, blocks = _foot(landmarks, width), _blocks(volume, landmarks, rows)
    top = _HEAD + 20
    height = top + -(-len(blocks) // columns) * (side + 30) + len(foot) * _LINE + 10
    sheet, window = Sheet(width, height), grey_window(volume)
    about = f"{title[1]}each picture {side_mm:.3g} {landmarks.unit} wide,  greys {window[0]:.4g} to {window[1]:.4g}"
    _title(sheet, landmarks, title[0], width - text_width(about) - 3 * _EDGE)
    sheet.text((width - _EDGE, _HEAD / 2), about, align="right", color=FAINT)
    for column in range(min(columns, len(blocks))):
        for number, plane in enumerate(STANDARD_PLANES):
            middle = _EDGE + column * (block + 22) + number * (side + 6) + side / 2
            sheet.text((middle, _HEAD + 8), plane.name, align="center", color=FAINT)
    for place, (label, (belief, color), point_mm, mark) in enumerate(blocks):
        left, upper = _EDGE + place % columns * (block + 22), top + place // columns * (side + 30)
        sheet.text(
            (left, upper + 11),
            fit(label, block - text_width(belief) - 12, 10),
            size=10,
            color=(mark or {}).get("color", TEXT),
        )
        sheet.text((left + block, upper + 11), belief, align="right", color=color)
        for number, plane in enumerate(STANDARD_PLANES):
            box = (left + number * (side + 6), upper + 22, side, side)
            view = View(plane.through(point_mm), side_mm, box)
            sheet.picture(volume, view, window)
            if mark is not None:
                sheet.cross(view.spot(point_mm), 14, **mark)
    _draw_foot(sheet, foot, height)
    return sheet.figure


def _blocks(volume: Volume, landmarks: Landmarks, rows: NDArray[np.intp]) -> list[_Block]:
    """Each point's name, how sure it is, its place and its cross; without points the middle of the volume."""
    if not len(rows):
        return [("no point to show; this is the middle of the scan", ("", FAINT), volume.grid.center_mm, None)]
    labels = _labels(landmarks)
    return [
        (labels[row], _belief(volume, landmarks, row), landmarks.points_mm[row], _mark(landmarks, row))
        for row in rows.tolist()
    ]


def _film(volume: Volume, landmarks: Landmarks, title: str) -> Figure:
    """The whole film, each point with its number, and the numbers' names beside it."""
    plane, size_mm = whole_cut(volume.grid, film_plane(volume.grid))
    scale = min(950 / size_mm[0], 950 / size_mm[1])
    wide, high = float(size_mm[0] * scale), float(size_mm[1] * scale)
    present, labels = np.flatnonzero(landmarks.present), _labels(landmarks)
    lines = max(1, int(max(high, 400) / _LINE) - 1)
    columns = -(-len(present) // lines)
    lines = -(-len(present) // max(columns, 1))
    width = max(wide + 2 * _EDGE + columns * 300, 500)
    foot = _foot(landmarks, width)
    height = _HEAD + max(high, lines * _LINE) + len(foot) * _LINE + 20
    sheet, view = Sheet(width, height), View(plane, size_mm, (_EDGE, _HEAD, wide, high))
    _title(sheet, landmarks, title, width - 2 * _EDGE)
    sheet.picture(volume, view, grey_window(volume), letters=False)
    spots = [view.spot(landmarks.points_mm[row]) for row in present]
    for number, (row, spot, beside) in enumerate(zip(present, spots, _beside(spots), strict=True)):
        sheet.cross(spot, 7, **_mark(landmarks, int(row)))
        sheet.label(beside, str(number + 1), color=TEXT)
        left, line = wide + 2 * _EDGE + number // lines * 300, _HEAD + (number % lines + 0.5) * _LINE
        belief, color = _belief(volume, landmarks, int(row), short=True)
        sheet.text((left + 20, line), str(number + 1), align="right", color=FAINT)
        sheet.text((left + 28, line), fit(labels[row], 252 - text_width(belief)))
        sheet.text((left + 288, line), belief, align="right", color=color)
    _draw_foot(sheet, foot, height)
    return sheet.figure


def _title(sheet: Sheet, landmarks: Landmarks, title: str, width: float) -> None:
    """The title, behind the verdict where there is one."""
    if landmarks.assessment is not None:
        title = f"{landmarks.assessment.verdict.upper()}: {title}"
    sheet.text((_EDGE, _HEAD / 2), fit(title, width, 12), size=12, color=_color(landmarks))


def _color(landmarks: Landmarks) -> str:
    """Of the verdict on the scan."""
    if landmarks.assessment is None:
        return TEXT
    return dict(zip(VERDICTS, (TEXT, DOUBT, UNLIKE), strict=True))[landmarks.assessment.verdict]


def _mark(landmarks: Landmarks, row: int) -> dict[str, Any]:
    """How the cross of a point is drawn."""
    return {"color": _color(landmarks), "dashed": True} if landmarks.suspect[row] else {}


def _draw_foot(sheet: Sheet, foot: Sequence[tuple[str, str]], height: float) -> None:
    for number, (line, color) in enumerate(foot[::-1]):
        sheet.text((_EDGE, height - 6 - (number + 0.5) * _LINE), line, color=color)


def _labels(landmarks: Landmarks) -> list[str]:
    """The names, those of several instances with a number."""
    several, seen, labels = Counter(landmarks.names), Counter[str](), []
    for name in landmarks.names:
        seen[name] += 1
        labels.append(f"{name} ({seen[name]})" if several[name] > 1 else name)
    return labels


def _belief(volume: Volume, landmarks: Landmarks, row: int, *, short: bool = False) -> tuple[str, str]:
    """How sure a landmark is, and the colour to say it in: a warning's below one half or outside the image."""
    words, color = [], FAINT
    if mark := _mark(landmarks, row):
        verdict = "doubtful" if mark["color"] == DOUBT else "unlike" if short else "unlike the training data"
        words, color = [verdict], mark["color"]
    elif landmarks.confidence is not None and not np.isnan(landmarks.confidence[row]):
        words.append(f"{'' if short else 'confidence '}{landmarks.confidence[row]:.2f}")
        color = TEXT if landmarks.confidence[row] >= 0.5 else DOUBT
    if not mark and landmarks.error_mm is not None and not np.isnan(landmarks.error_mm[row]):
        error, coverage = landmarks.error_mm[row], landmarks.coverage
        held = f"{100 * (coverage or 0):.4g} %"
        sign = "\N{PLUS-MINUS SIGN}" if coverage is None else f"{held}: " if short else f"{held} within "
        words.append(f"{sign}{error:.{1 if error >= 1 else 2}f} {landmarks.unit}")
    if not volume.grid.contains(landmarks.points_mm[row]):
        words, color = [*words, "outside" if short else "outside the image"], DOUBT
    return "   ".join(words), color


def _foot(landmarks: Landmarks, width: float) -> list[tuple[str, str]]:
    """Lines at the foot of the sheet and their colours: what is not trusted and why, what is missing, the notes."""
    warning = _color(landmarks)
    lines = [(f"Not trusted: {reason}", warning) for reason in _doubts(landmarks)]
    if withheld := ", ".join(landmarks.names[row] for row in np.flatnonzero(landmarks.held_back)):
        lines.append((f"Withheld, since they are not trusted: {withheld}", warning))
    lines += [(line, FAINT) for line in _missing(landmarks)]
    lines += [(f"Note: {note}", TEXT) for note in landmarks.notes]
    return [(part, color) for line, color in lines for part in textwrap.wrap(line, int(width / 6.6))]


def _missing(landmarks: Landmarks) -> list[str]:
    """A line that names the landmarks that were not found, with the presence score where there is one."""
    scores, assessment = landmarks.confidence, landmarks.assessment
    if scores is None or (assessment is not None and assessment.reasons):  # which say nothing of such a scan
        scores = np.full(len(landmarks), np.nan)
    gone = np.flatnonzero(~landmarks.present & ~landmarks.held_back)
    missing = [
        landmarks.names[row] if np.isnan(scores[row]) else f"{landmarks.names[row]} ({scores[row]:.2f})" for row in gone
    ]
    lead = "No landmark was found; reported missing" if len(gone) == len(landmarks) else "Reported missing"
    score = "" if np.isnan(scores[gone]).all() else " (presence score)"
    return [f"{lead}{score}: {', '.join(missing)}"] if missing else []


def _doubts(landmarks: Landmarks) -> list[str]:
    """What speaks against the scan, or else against single points: where no point is trusted, these add nothing."""
    if landmarks.assessment is None or landmarks.assessment.reasons:
        return [] if landmarks.assessment is None else list(landmarks.assessment.reasons)
    doubts: dict[str, list[str]] = {}
    for label, doubt in zip(_labels(landmarks), landmarks.assessment.doubts, strict=True):
        if doubt:
            doubts.setdefault(doubt, []).append(label)
    return [f"{', '.join(labels)}: {doubt}" for doubt, labels in doubts.items()]


def _beside(spots: Sequence[Spot]) -> list[Spot]:
    """A place near each spot for its number: where the other marks and the numbers placed before leave most room."""
    turns = np.arange(8) * np.pi / 4
    around = np.concatenate([radius * np.stack([np.cos(turns), -np.sin(turns)], axis=1) for radius in (14.0, 20.0)])
    taken = [np.array(spot) for spot in spots]
    places: list[Spot] = []
    for spot in spots:
        candidates = np.array(spot) + around
        gaps = np.linalg.norm(candidates[:, None] - np.array(taken)[None], axis=-1)
        crowd = np.maximum(0.0, 17.0 - gaps).sum(1) + 0.05 * np.linalg.norm(around, axis=1)  # else the nearer place
        best = candidates[int(crowd.argmin())]
        taken.append(best)
        places.append((float(best[0]), float(best[1])))
    return places
