"""The table, and a tiny run of revproxy alone."""

from __future__ import annotations

import re
import sys

import pytest

from revproxy.bench import __main__ as bench, measure, proxies
from revproxy.bench.measure import Result

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def run(cpu: float, requests: int = 1000, size: int = 10**9, errors: int = 0, foreign: float = 0.0) -> Result:
    return Result(requests, size, errors, 2.0, cpu, foreign, "it broke" if errors else "")


def row(lines: list[str], name: str) -> list[str]:
    return next(line for line in lines if line.startswith(name)).split()


def test_figures_are_medians_and_ratios_are_of_the_same_round() -> None:
    lines = bench.table(
        "small",
        {"nginx": [run(0.010), run(0.020), run(0.030)], "revproxy": [run(0.020), run(0.050), run(0.060)]},
    )
    assert row(lines, "nginx")[1:5] == ["20.0", "10.0-30.0", "1.00", "500/s"]
    assert row(lines, "revproxy")[1:5] == ["50.0", "20.0-60.0", "2.00", "500/s"]


def test_downloads_count_seconds_for_a_gigabyte() -> None:
    lines = bench.table("download", {"revproxy": [run(1.5, requests=3, size=2 * 10**9)]})
    assert "CPU s/GB" in lines[1]
    assert row(lines, "revproxy")[1:6] == ["0.75", "0.75-0.75", "-", "1.00", "GB/s"]


def test_what_is_doubtful_is_said() -> None:
    assert bench.notes_on([10, 10.1], 0.0, False) == []
    assert bench.notes_on([10, 14], 0.0, False) == ["noisy: rounds differ"]
    assert bench.notes_on([10], 0.5, False) == ["noisy: others had 50% of its core"]
    assert bench.notes_on([10], 0.5, True) == ["noisy: one core for everything"]
    lines = bench.table("small", {"nginx": [None, None], "revproxy": [run(0.01, errors=3), None]})
    assert row(lines, "nginx")[1] == "failed"
    assert row(lines, "revproxy")[3:] == ["-", "500/s", "3", "it", "broke"]  # rate, errors, notes


@pytest.mark.parametrize("words", [["--seconds", "0"], ["--seconds", "x"], ["--rounds", "99"], ["--workload", "x"]])
def test_options_are_bounded(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(words)
    assert "error: argument" in capsys.readouterr().err


def test_elsewhere_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert bench.main([]) == 1
    assert "Linux only" in capsys.readouterr().out


def test_a_proxy_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(proxies, "find", lambda command: None)
    monkeypatch.setattr(sys, "platform", "linux")
    assert proxies.installed() == ["revproxy"]
    assert bench.main(["--proxy", "caddy"]) == 1
    assert "caddy can't be measured" in capsys.readouterr().out


@linux
@pytest.mark.slow
def test_a_tiny_run_of_revproxy_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(proxies, "find", lambda command: None)  # so that the origin is ours, too
    workloads = ["small", "close", "download", "upload"]
    assert bench.main(["--proxy", "revproxy", "--seconds", "0.3", "--rounds", "1", "--workload", *workloads]) == 0
    out = capsys.readouterr().out
    rows = re.findall(r"^revproxy +([\d.]+) +\S+ +- +([\d.,]+)(?: GB)?/s +(\d+)", out, re.M)
    assert len(rows) == len(workloads), out
    for cpu, rate, errors in rows:
        assert float(rate.replace(",", "")) > 0
        assert float(cpu) >= 0
        assert errors == "0"


@linux
def test_what_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(place: proxies.Place) -> proxies.Start:
        return [sys.executable, "-c", "raise SystemExit('no way')"], {}

    monkeypatch.setattr(proxies, "find", lambda command: None)
    monkeypatch.setitem(proxies.PROXIES, "revproxy", broken)
    assert bench.main(["--proxy", "revproxy", "--seconds", "0.1", "--rounds", "1", "--workload", "small"]) == 1
    captured = capsys.readouterr()
    assert "no way" in captured.err
    assert "failed" in captured.out


@linux
def test_cpu_counts_the_whole_process_tree() -> None:
    import os

    own = measure.cpu_of(os.getpid())
    assert own > 0
    assert os.getpid() in measure.tree(os.getppid())
