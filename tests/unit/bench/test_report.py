"""The tables that `make bench` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.compare import Result
from bench.report import print_report
from bench.statistics import Round

if TYPE_CHECKING:
    import pytest


def test_what_was_measured_stands_beside_what_was_to_be_reached(capsys: pytest.CaptureFixture[str]) -> None:
    results = [
        Result("catalogue, JSON", 2.5, "x", 2, 3, cpu=1.5),
        Result("chain", 60, "us", 80, 45),
        Result("login", 0.97, "x"),
    ]
    rounds = [Round(1000, 1, 0.2, [0.001] * 99 + [0.009])]
    refused = [Round(50, 5, 0.0, [0.002])]
    print_report(results, {"catalogue": {"azora": rounds}, "refused": {"azora": refused}}, "1 round")
    lines = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["catalogue,", "JSON", "2.50x", "2.00x", "3.00x", "at", "least", "1.50x"] in lines
    assert ["chain", "60", "us", "80", "us", "45", "us", "at", "least"] in lines
    assert ["login", "0.97x", "-", "-", "-"] in lines
    assert ["catalogue", "azora", "1,000", "1.00", "1.00", "200"] in lines
    assert ["refused", "azora", "10", "2.00", "2.00", "-"] in lines, "its CPU time was not measured"
