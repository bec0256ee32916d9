from __future__ import annotations

from lmk3d.io.findings import Finding, some, summed_up


def test_alike_findings_of_three_cases_are_one_line_where_the_first_stood():
    findings = [
        Finding(f"/{name}.csv, line {row}: bad", "training", name, f"/{name}.csv") for row, name in enumerate("abc")
    ]
    findings.insert(1, Finding("other", "test", "x"))
    assert summed_up(findings, 5) == [
        "in 3 of 5 cases (a, b, c): for example /a.csv, line 0: bad",
        "test, case x: other",
    ]
    assert summed_up(findings[:3], 5) == [
        "training, case a: /a.csv, line 0: bad",
        "test, case x: other",
        "training, case b: /b.csv, line 1: bad",
    ]


def test_findings_on_no_case_stay_and_kinds_join():
    assert summed_up([Finding("a"), Finding("b"), Finding("a")], 3) == ["a", "b", "a"]
    findings = [Finding(name, "training", name, kind="names") for name in "abc"]
    assert summed_up(findings, 3) == ["in all 3 cases (a, b, c): for example a"]


def test_long_lists_are_cut():
    assert some("abcdefg") == "a, b, c, d, e and 2 more"
    assert some(["a"]) == "a"
