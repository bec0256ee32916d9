"""What all pages share: one self-contained document that may ask no server for anything, and its small parts."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["asset", "breakable", "document", "table"]


def asset(name: str) -> str:
    """The text of a file in ``lmk3d/pages/assets``."""
    return (files("lmk3d.pages") / "assets" / name).read_text(encoding="utf-8")


def document(title: str, body: str, *, styles: Sequence[str], scripts: Iterable[str] = ()) -> str:
    """A whole HTML document.

    Its policy forbids every request but those for data that it holds itself, so it works offline and nothing of the
    scan can leave the browser.

    Args:
        title: plain text.
        body: HTML.
        styles: CSS files of the assets.
        scripts: JavaScript, run in order at the end of the body.
    """
    code = "".join(f"<script>{text}</script>\n" for text in scripts)
    run = "script-src 'unsafe-inline'; " if code else ""
    policy = f"default-src 'none'; {run}style-src 'unsafe-inline'; img-src data: blob:; connect-src data: blob:"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<style>\n{''.join(asset(name) for name in styles)}</style>\n</head>\n<body>\n{body}\n{code}</body>\n</html>\n"
    )


def table(rows: Sequence[Sequence[str]], *, caption: str) -> str:
    """A table in a box that scrolls sideways where the screen is narrow.

    Args:
        rows: plain text; the first row holds the heads of the columns, the first column those of the rows.
        caption: stands on top.
    """
    heads = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    lines = [
        f'<tr><th scope="row">{breakable(name)}</th>{"".join(f"<td>{breakable(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in rows[1:]
    ]
    said = escape(caption)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{said}"><table><caption>{said}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def breakable(text: str) -> str:
    """Plain text as HTML, long names of which may go on in the next line after an underscore."""
    return escape(text).replace("_", "_<wbr>")
