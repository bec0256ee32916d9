"""Charts as SVG inside a page: sharp at any size, their text is text, and their colours follow the page."""

from __future__ import annotations

import re
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inline_svg"]

# A page may set these names for its dark theme; the colours behind them are those of the figure itself.
_NAMES = {
    "#1f5f99": "chart-1", "#b4540a": "chart-2", "#4f7f1f": "chart-3", "#7a3d8f": "chart-4", "#444444": "chart-5",
    "#a01c3f": "chart-6", "#cfe0f0": "chart-fill", "#e2e2e2": "chart-grid", "#6b6b6b": "chart-faint",
    "#20242a": "chart-ink", "#000000": "chart-ink", "#ffffff": "chart-back",
}  # fmt: skip


def inline_svg(figure: Figure, *, label: str) -> str:
    """The figure as an SVG element that fills the width it is given.

    Args:
        figure: a chart of this package.
        label: what it shows, for those who do not see it.
    """
    from matplotlib import rc_context

    text = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Type": None})
    svg = re.sub(r"<metadata>.*?</metadata>", "", text.getvalue()[text.getvalue().index("<svg") :], flags=re.DOTALL)
    # Ids that nothing refers to would stand several times in a page with several charts.
    svg = re.sub(r' id="[^"]*_\d+"', "", svg)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda found: _named(found[0]), svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    frame = re.search(r'viewBox="[^"]+"', svg)
    head = f'<svg class="chart" role="img" aria-label="{escape(label)}" {frame[0] if frame else ""} xmlns='
    return head + re.sub(
        r"^<svg[^>]*?>", '"http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">', svg
    )


def _named(color: str) -> str:
    return f"var(--{_NAMES[color]}, {color})" if color in _NAMES else color
