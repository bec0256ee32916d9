from __future__ import annotations

from lmk3d.cli import main


def test_group_lists_its_measures(capsys):
    assert main(["measure", "--help"]) == 0
    out = capsys.readouterr().out
    assert "ceph" in out
    assert "cobb" in out


def test_group_alone_or_with_an_unknown_measure_is_refused(capsys):
    assert main(["measure"]) == 2
    assert "WHAT; see lmk3d measure --help" in capsys.readouterr().err
    assert main(["measure", "cop"]) == 2
    assert "invalid choice: 'cop'" in capsys.readouterr().err
