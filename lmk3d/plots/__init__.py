"""Pictures: box plot, cumulative error curve, preview of predicted landmarks, worst cases.

Each function returns a matplotlib ``Figure`` with its own Agg canvas: nothing touches pyplot's global state or needs a
display, and matplotlib is imported only when something is drawn.
"""

from lmk3d.plots.charts import box_plot, cumulative_curve, learning_curve, pareto_plot
from lmk3d.plots.planes import STANDARD_PLANES, Plane, cut, grey_window, plane_through
from lmk3d.plots.previews import preview, save_preview
from lmk3d.plots.sheet import save_figure
from lmk3d.plots.vector import inline_svg
from lmk3d.plots.worst import worst_case

__all__ = [
    "STANDARD_PLANES",
    "Plane",
    "box_plot",
    "cumulative_curve",
    "cut",
    "grey_window",
    "inline_svg",
    "learning_curve",
    "pareto_plot",
    "plane_through",
    "preview",
    "save_figure",
    "save_preview",
    "worst_case",
]
