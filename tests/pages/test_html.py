"""The frame of all pages."""

import pytest

from lmk3d.pages.html import asset, breakable, document, table


def test_a_document_allows_no_request_and_runs_only_its_own_scripts():
    page = document("a < b", "<p>x</p>", styles=("base.css",), scripts=("let a = 1;",))
    assert "<title>a &lt; b</title>" in page
    assert "default-src 'none'" in page
    assert "script-src 'unsafe-inline'" in page
    assert "<script>let a = 1;</script>" in page
    assert "script-src" not in document("a", "", styles=())


def test_a_table_has_heads_of_columns_and_rows_and_escapes_what_it_holds():
    html = table([["landmark", "mean"], ["a<b", "1.0"]], caption='errors in "mm"')
    assert '<th scope="col">mean</th>' in html
    assert '<th scope="row">a&lt;b</th><td>1.0</td>' in html
    assert 'aria-label="errors in &quot;mm&quot;"' in html


def test_long_names_break_after_an_underscore():
    assert breakable("left_<ostium>") == "left_<wbr>&lt;ostium&gt;"


@pytest.mark.parametrize("name", ["niivue.umd.js", "view.js"])
def test_a_script_can_stand_inside_a_page(name):
    assert "</script" not in asset(name).lower()
    assert "<!--" not in asset(name)


def test_the_viewer_that_is_shipped_is_the_one_its_licence_names():
    import hashlib

    licence = asset("niivue.LICENSE.txt")
    assert f"sha256 {hashlib.sha256(asset('niivue.umd.js').encode()).hexdigest()}" in licence
    assert "BSD 2-Clause License" in licence
