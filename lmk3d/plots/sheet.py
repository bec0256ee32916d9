"""A dark sheet for pictures of scans: squares of grey, marks, text, all placed in hundredths of an inch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lmk3d.io.atomic import atomic_path
from lmk3d.plots.planes import cut, letter
from lmk3d.terminal import printable

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from lmk3d.geometry import Volume
    from lmk3d.plots.planes import Plane

    FloatArray = NDArray[np.float64]
    Spot = tuple[float, float]
    Box = tuple[float, float, float, float]

__all__ = [
    "DOUBT",
    "DPI",
    "FAINT",
    "MARK",
    "TEXT",
    "TRUTH",
    "UNLIKE",
    "Sheet",
    "View",
    "fit",
    "new_figure",
    "sampling",
    "save_figure",
    "text_width",
]

DPI = 120
BACK, TEXT, FAINT = "#141414", "#f2f2f2", "#a8a8a8"
MARK, TRUTH, DOUBT = "#ffd84d", "#53e07d", "#ff9a52"  # seen on every grey, and told apart by colour-blind eyes too
LETTER, UNLIKE = "#7cd4ff", "#ff6b6b"


def new_figure(width_inch: float, height_inch: float, color: str = "white") -> Figure:
    """An empty figure on an Agg canvas of its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inch, height_inch), dpi=DPI, facecolor=color)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path, *, title: str = "") -> None:
    """Write a PNG that appears whole or not at all.

    Args:
        figure, path: what, and where to.
        title: what the picture shows in words; kept in the file, for those who do not see it.
    Raises:
        InputError: if the folder does not exist or cannot be written.
    """
    with atomic_path(path) as temporary:
        figure.savefig(
            temporary,
            format="png",
            facecolor=figure.get_facecolor(),
            metadata={"Title": printable(title)} if title else None,
        )


def text_width(text: str, size: float = 9) -> float:
    """About how wide a text is on the sheet: a sign takes 0.62 of its height on average."""
    return len(text) * 0.62 * size / 0.72


def fit(text: str, width: float, size: float = 9) -> str:
    """The text, cut with an ellipsis to about this width on the sheet."""
    signs = int(width / text_width("x", size))
    return text if len(text) <= signs else text[: max(signs - 1, 0)] + "\N{HORIZONTAL ELLIPSIS}"


class View:
    """A plane shown in a box of the sheet: where its world points lie there.

    Args:
        plane: what is cut.
        size_mm: width and height of the cut, or one number for both.
        box: left, top, width and height on the sheet; of the same proportions as ``size_mm``.
    """

    def __init__(self, plane: Plane, size_mm: ArrayLike, box: Box) -> None:
        self.plane, self.box = plane, box
        self.size_mm: FloatArray = np.broadcast_to(np.asarray(size_mm, dtype=np.float64), 2)

    def spot(self, point_mm: ArrayLike) -> Spot:
        """Where a world point, projected onto the plane, lies on the sheet."""
        left, top, width, height = self.box
        right, up = self.plane.position(point_mm) / self.size_mm
        return left + (0.5 + right) * width, top + (0.5 - up) * height


class Sheet:
    """A figure measured in hundredths of an inch from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = new_figure(width / 100, height / 100, BACK)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)
        self.axes.set_autoscale_on(False)
        self.axes.axis("off")

    def text(self, spot: Spot, text: str, *, size: float = 9, align: str = "left", color: str = TEXT) -> None:
        """A line of text, its middle at the height of ``spot``; nothing in it is a command, of TeX or otherwise."""
        self.axes.text(*spot, printable(text), size=size, ha=align, va="center", color=color, parse_math=False)

    def label(self, spot: Spot, text: str, *, color: str) -> None:
        """A few signs in the middle of ``spot``, with a dark rim to be read on any grey."""
        _rim(self.axes.text(*spot, printable(text), size=8, ha="center", va="center", color=color, parse_math=False))

    def picture(self, volume: Volume, view: View, window: tuple[float, float], *, letters: bool = True) -> None:
        """The cut of a view, lettered by where its edges point."""
        columns, rows = sampling(volume, view)
        self.greys(cut(volume, view.plane, view.size_mm, (rows, columns)), view, window, letters=letters)

    def greys(self, values: ArrayLike, view: View, window: tuple[float, float], *, letters: bool = True) -> None:
        """(rows, columns) values in the box of a view, the first row up; NaN stays dark."""
        left, top, width, height = view.box
        self.axes.imshow(
            np.ma.masked_invalid(np.asarray(values)),
            cmap="gray",
            vmin=window[0],
            vmax=window[1],
            extent=(left, left + width, top + height, top),
            aspect="auto",
            interpolation="antialiased",
        )
        self.box((left + width / 2, top + height / 2), (width, height), color="#3a3a3a")
        if letters:
            self.letters(view)

    def letters(self, view: View) -> None:
        """Where the edges of a view point, in anatomical letters."""
        left, top, width, height = view.box
        right, up, away = view.plane.right, view.plane.up, 8.0
        middle = (left + width / 2, top + height / 2)
        # A strip has room for one pair only.
        if width >= 5 * away:
            self.label((left + width - away, middle[1]), letter(right), color=LETTER)
            self.label((left + away, middle[1]), letter(-right), color=LETTER)
        if height >= 5 * away:
            self.label((middle[0], top + away), letter(up), color=LETTER)
            self.label((middle[0], top + height - away), letter(-up), color=LETTER)

    def cross(self, spot: Spot, arm: float, *, color: str = MARK, dashed: bool = False) -> None:
        """An open cross: its middle stays free, so that the anatomy under the point can be seen."""
        (x, y), gap = spot, 0.35 * arm
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            ends = (x + gap * dx, y + gap * dy), (x + arm * dx, y + arm * dy)
            self.line(*ends, color=color, width=1.2, dashed=dashed)

    def ring(self, spot: Spot, radius: float, *, color: str = TRUTH) -> None:
        """An open circle."""
        from matplotlib.patches import Circle

        _rim(self.axes.add_patch(Circle(spot, radius, fill=False, color=color, linewidth=1.4, zorder=3)))

    def box(self, center: Spot, size: tuple[float, float], *, color: str = TEXT) -> None:
        """An open box."""
        from matplotlib.patches import Rectangle

        corner = (center[0] - size[0] / 2, center[1] - size[1] / 2)
        self.axes.add_patch(Rectangle(corner, *size, fill=False, color=color, linewidth=0.9, zorder=2))

    def line(self, start: Spot, end: Spot, *, color: str, width: float = 1.0, dashed: bool = False) -> None:
        """A line from spot to spot."""
        from matplotlib.lines import Line2D

        ends = [start[0], end[0]], [start[1], end[1]]
        # Butt ends: others would reach, with their rims, into the middle of a cross.
        style: Any = (0, (1.5, 1.0)) if dashed else "-"
        line = Line2D(*ends, color=color, linewidth=width, linestyle=style, solid_capstyle="butt", zorder=3)
        _rim(self.axes.add_line(line))


def sampling(volume: Volume, view: View) -> tuple[int, int]:
    """Columns and rows to sample: as many as are drawn; of a film its own up to 1600, which antialiasing reduces."""
    drawn = np.array(view.box[2:]) * DPI / 100
    if volume.grid.shape[2] == 1:
        drawn = np.clip(view.size_mm / volume.grid.spacing_mm[:2].min(), drawn, 1600)
    return int(drawn[0]), int(drawn[1])


def _rim(artist: Any) -> None:
    """A dark rim, so that the artist is seen on white bone too."""
    from matplotlib.patheffects import withStroke

    artist.set_path_effects([withStroke(linewidth=2.4, foreground="#000000c0")])
