"""The report, in a real browser."""

import re

import pytest

from lmk3d.pages import write_report

PARTS = ["summary", "landmarks", "distances", "worst", "training", "data", "versions"]


@pytest.fixture(scope="module")
def page_file(results, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report([trained, results], path)
    return path


@pytest.mark.parametrize("width", [1366, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_parts_are_there_on_a_laptop_and_a_phone(scheme, width, open_page, page_file):
    with open_page(page_file.as_uri(), viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        assert page.evaluate("[...document.querySelectorAll('section')].map((own) => own.id)") == PARTS
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        charts = page.locator("svg.chart:visible")
        assert charts.count() == 4  # boxes, distances, loss, validation: each in the one size that fits
        for number in range(4):
            box = charts.nth(number).bounding_box()
            assert box["width"] > 0.7 * min(width, 1000)
            assert box["height"] > 100
        ink = page.evaluate("getComputedStyle(document.querySelector('svg.chart text')).fill")
        assert (sum(map(int, re.findall(r"\d+", ink))) > 400) == (scheme == "dark")


def test_it_says_figures_cases_and_versions(open_page, page_file):
    with open_page(page_file.as_uri()) as page:
        assert page.locator("h1").inner_text() == "predicted on tiny"
        cards = page.locator(".cards").inner_text()
        assert re.search(r"1 of 6\s+points missed", cards)
        words = page.locator("#summary").inner_text()
        assert "left is found best (0.50 mm) and right worst (4.00 mm)" in words
        assert "missed" in page.locator("#worst tbody tr").first.inner_text()
        assert "numpy" in page.locator("#versions").inner_text()
        assert "4 training, 2 validation" in page.locator("#data").inner_text()


def test_pictures_and_charts_have_words_for_those_who_do_not_see_them(open_page, page_file):
    with open_page(page_file.as_uri()) as page:
        images = page.locator("img")
        assert images.count() == 2
        assert "right: 4.00 mm apart" in images.first.get_attribute("alt")
        assert page.evaluate("[...document.images].every((own) => own.complete && own.naturalWidth > 100)")
        assert page.evaluate("[...document.querySelectorAll('svg')].every((own) => own.getAttribute('aria-label'))")


def test_links_and_wide_tables_are_reached_by_keys(open_page, page_file):
    with open_page(page_file.as_uri(), viewport={"width": 390, "height": 800}, reduced_motion="reduce") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_timeout(100)
        assert page.url.endswith("#landmarks")
        assert 0 <= page.locator("#landmarks").bounding_box()["y"] < 100
        assert page.locator("#landmarks [tabindex='0']").count() == 1


def test_a_training_alone_makes_a_page(trained, tmp_path):
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "train.json").write_text("{}", encoding="utf-8")
    write_report([tmp_path / "alone"], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h1>Training of alone</h1>" in page
    assert "No curves" in page
    assert 'id="worst"' not in page
