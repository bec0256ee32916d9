"""Box plot and cumulative curve."""

import subprocess
import sys

import numpy as np
from numpy.testing import assert_allclose

from lmk3d.plots import box_plot, cumulative_curve, learning_curve, pareto_plot


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_curve_steps_up_at_each_error_and_never_reaches_missed_points():
    figure = cumulative_curve({"result": [2.0, 1.0, np.nan, 1.0]}, unit="px")
    (line,) = figure.axes[0].lines
    # Four true points: two within 1, a third within 2, the missed one nowhere; drawn on to 1.25 x the 99th percentile.
    assert_allclose(line.get_xdata(), [0, 1, 1, 2, 1.25 * (1 + 0.98)])
    assert_allclose(line.get_ydata(), [0, 25, 50, 75, 75])
    assert line.get_label() == "result\nmean 1.33 px, n = 3"
    assert figure.axes[0].get_xlabel() == "error (px)"


def test_the_first_curve_sets_the_axis_and_the_others_are_told_apart():
    curves = {"result": [0.1, 0.2], "mean shape": [8.0, 9.0], "second rater": [0.1], "nothing": [np.nan]}
    axes = cumulative_curve(curves).axes[0]
    assert axes.get_xlim()[1] < 0.3
    assert [line.get_label().split("\n")[0] for line in axes.lines] == ["result", "mean shape", "second rater"]
    looks = {(line.get_linestyle(), line.get_color()) for line in axes.lines}
    assert len(looks) == 3


def test_a_box_shows_quartiles_whiskers_and_missed_points():
    figure = box_plot({"root $_a$": [1.0, 2.0, 3.0, 4.0, 20.0, np.nan], "none": [np.nan], "never": []}, unit="mm")
    axes = figure.axes[0]
    (box,) = axes.patches
    assert (box.get_x(), box.get_width()) == (2.0, 2.0)  # quartiles of 1, 2, 3, 4, 20
    whisker, median = (collection.get_segments()[0] for collection in axes.collections)
    assert_allclose(whisker[:, 0], [1, 4])  # 20 lies beyond 4 + 1.5 x 2
    assert_allclose(median[:, 0], [3, 3])
    assert texts(figure) == ["1 missed", "1 missed"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["root $_a$", "none", "never"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first name is on top
    figure.canvas.draw()


def test_points_inside_the_whiskers_are_drawn_where_they_are_few():
    few, many = np.linspace(0, 1, 30), np.append(np.linspace(0, 1, 30), 9.0)
    assert len(box_plot({"a": few}).axes[0].lines[0].get_xdata()) == 30
    assert list(box_plot({"a": many}).axes[0].lines[0].get_xdata()) == [9.0]


def test_one_gross_error_makes_the_axis_logarithmic():
    assert box_plot({"a": [0.0, 0.2, 0.3, 0.2, 40.0]}).axes[0].get_xscale() == "log"
    assert box_plot({"a": [0.0, 0.2, 0.3, 0.2, 0.9]}).axes[0].get_xscale() == "linear"
    assert box_plot({"a": [0.0, 0.0]}).axes[0].get_xlim() == (0, 1)


def test_nothing_to_show_is_no_error():
    for figure in (box_plot({}), cumulative_curve({}), box_plot({"a": [np.nan]}), cumulative_curve({"a": [np.nan]})):
        figure.canvas.draw()


def test_pyplot_is_never_touched_and_matplotlib_only_when_drawing():
    code = (
        "import sys, lmk3d.plots as plots\n"
        "assert not {'matplotlib', 'scipy'} & set(sys.modules)\n"
        "plots.box_plot({'a': [1.0]}).canvas.draw()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_front_is_joined_and_numbered():
    goals = {"mean_error_mm": [3.0, 1.0, 2.0, np.nan], "mean_dice": [0.9, 0.5, 0.6, 0.7]}
    axes = pareto_plot(goals, [True, True, False, False]).axes[0]
    assert_allclose(axes.lines[0].get_xydata(), [[1.0, 0.5], [3.0, 0.9]])
    assert [text.get_text() for text in axes.texts] == ["0", "1"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("mean error (mm)", "mean dice")
    alone = pareto_plot({"mean_error_mm": [3.0, 1.0]}, [False, True]).axes[0]
    assert (alone.get_xlabel(), alone.get_ylabel()) == ("trial", "mean error (mm)")


def test_a_learning_curve_begins_at_zero_and_counts_whole_epochs():
    figure = learning_curve(
        {"mean": ([1, 2, 3], [4.0, 2.0, 1.0]), "median": ([1, 3], [3.0, 1.0])}, across="epoch", up="mm"
    )
    axes = figure.axes[0]
    assert axes.get_ylim() == (0, 1.05 * 4)
    assert all(tick == round(tick) for tick in axes.get_xticks())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["mean", "median"]


def test_a_loss_that_falls_far_is_shown_on_a_logarithmic_scale():
    axes = learning_curve({"loss": (range(1, 101), np.geomspace(100, 0.1, 100))}, across="step", up="loss").axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_legend() is None


def test_the_legend_of_a_narrow_chart_stands_below_it():
    curves = {"result": [1.0, 2.0], "mean shape": [3.0]}
    for width, below in ((8.6, False), (4.6, True)):
        figure = cumulative_curve(curves, width_inch=width)
        figure.canvas.draw()
        axes = figure.axes[0]
        legend = axes.get_legend().get_window_extent()
        assert (legend.y1 < axes.get_window_extent().y0) == below
