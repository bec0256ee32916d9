"""Pages to look at in a browser: one HTML file each, with all it shows inside, offline."""

from lmk3d.pages.report import write_report
from lmk3d.pages.server import PageServer
from lmk3d.pages.viewer import view_page

__all__ = ["PageServer", "view_page", "write_report"]
