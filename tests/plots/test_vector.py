"""Charts as SVG inside a page."""

import re
from xml.etree import ElementTree

import pytest

from lmk3d.plots import box_plot, cumulative_curve, inline_svg

ERRORS = {"left_<a>": [1.0, 2.0, 4.0], "right": [0.5, 3.0]}


@pytest.fixture
def svg():
    return inline_svg(box_plot(ERRORS), label='errors of "two"')


def test_it_is_well_formed_and_says_what_it_shows(svg):
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'errors of "two"'
    assert root.get("role") == "img"
    assert root.get("width") is None  # the page decides
    assert root.get("viewBox").startswith("0 0 648")


def test_its_text_is_text_in_the_font_of_the_page(svg):
    texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert "left_<a>" in texts
    assert "DejaVu" not in svg


def test_its_colours_follow_the_page(svg):
    assert "var(--chart-1, #1f5f99)" in svg
    assert "var(--chart-fill, #cfe0f0)" in svg
    assert not re.search(r"(?<!, )#000000", svg)


def test_several_stand_in_one_page(svg):
    other = inline_svg(cumulative_curve(ERRORS), label="curves")
    first, second = (set(re.findall(r' id="([^"]+)"', text)) for text in (svg, other))
    assert not first & second
    for text, ids in ((svg, first), (other, second)):
        used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
        assert used <= ids


def test_the_same_chart_gives_the_same_text(svg):
    assert svg == inline_svg(box_plot(ERRORS), label='errors of "two"')
