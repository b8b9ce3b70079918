"""What `azora status` reads from the metrics page and from Envoy, and what it says of it."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from services.cli import status
from services.cli.output import Output
from services.cli.sample import STATS, Sample, _add_envoy, _add_metrics, rates
from services.gateway.rates import Rates
from services.local.orphans import Registered
from services.local.processes import Identity, identify

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.cli.output import Column

PAGE = """
azora_up{{service="payment",replica="0"}} 1.0
azora_up{{service="payment",replica="1"}} 0.0
azora_build_info{{service="payment",replica="0",version="1.2.3"}} 1.0
process_start_time_seconds{{service="payment",replica="0"}} 1000.0
azora_rpc_duration_seconds_bucket{{service="payment",replica="0",method="a/B",code="OK",le="0.1"}} {fast}
azora_rpc_duration_seconds_bucket{{service="payment",replica="0",method="a/B",code="OK",le="1.0"}} {all}
azora_rpc_duration_seconds_bucket{{service="payment",replica="0",method="a/B",code="OK",le="+Inf"}} {all}
azora_rpc_duration_seconds_count{{service="payment",replica="0",method="a/B",code="OK"}} {all}
azora_rpc_duration_seconds_count{{service="payment",replica="0",method="a/B",code="UNAVAILABLE"}} {failed}
azora_rpc_duration_seconds_count{{service="payment",replica="0",method="a/B",code="NOT_FOUND"}} 7.0
azora_events{{service="payment",replica="0",state="dead"}} 2.0
azora_events{{service="payment",replica="0",state="due"}} 9.0
azora_jobs{{service="payment",replica="0",state="failed"}} 1.0
"""
INFO = {"version": "3aa1/1.40.0/Clean/RELEASE/BoringSSL"}
CLUSTERS = [
    {
        "name": "payment",
        "host_statuses": [
            {"address": {"pipe": {"path": "/run/payment.sock"}}, "health_status": {"eds_health_status": "HEALTHY"}},
            {
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 20001}},
                "health_status": {"failed_active_health_check": True},
            },
        ],
    },
    {"name": "otlp"},
]


def _stats(retries: int) -> list[dict[str, object]]:
    return [
        {"name": "cluster.payment.upstream_rq_retry", "value": retries},
        {"name": "cluster.payment.upstream_rq_active", "value": 3},
        {"name": "cluster.payment.circuit_breakers.default.rq_open", "value": 1},
        {"name": "cluster.payment.circuit_breakers.high.rq_open", "value": 0},
    ]


def _sample(time: float, *, calls: int, failed: int, retries: int) -> Sample:
    me = identify(os.getpid())
    assert me
    processes = {
        "payment": Registered(me, signal.SIGTERM, {"payment": "unix:/run/payment.sock"}),
        "payment-1": Registered(me, signal.SIGTERM, {"payment": "127.0.0.1:20001"}),
        "envoy": Registered(Identity(me.pid, "of another time"), signal.SIGTERM, {}),
        "postgres": Registered(me, signal.SIGINT, {}),
    }
    sample = Sample(time, processes, database_answers=True)
    _add_metrics(sample, PAGE.format(fast=calls / 2, all=float(calls), failed=float(failed)))
    _add_envoy(sample, INFO, CLUSTERS, _stats(retries))
    return sample


@pytest.fixture
def samples() -> tuple[Sample, Sample]:
    """Give the system twice, two seconds apart."""
    return (
        _sample(4_598, calls=100, failed=0, retries=0),
        _sample(4_600, calls=300, failed=4, retries=10),
    )


def _shown(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> list[tuple[str, ...]]:
    return [tuple(column.show(cell) for column, cell in zip(columns, row, strict=True)) for row in rows]


def test_processes_have_health_rates_and_quantiles(samples: tuple[Sample, Sample]) -> None:
    rows = {row[0]: row[2:] for row in _shown(status.PROCESSES, status._processes(*samples))}
    assert rows["payment"] == ("healthy", "1.2.3", "1h00m", "100.0", "2.0", "100.0 ms", "982.0 ms")
    assert rows["payment-1"][:2] == ("unhealthy", "-")
    assert rows["envoy"][0] == "not running"
    assert rows["postgres"][0] == "healthy"
    assert list(rows) == ["payment", "payment-1", "envoy", "postgres"]


def test_upstreams_have_open_circuits_and_retries(samples: tuple[Sample, Sample]) -> None:
    rows = {row[0]: row[1:] for row in _shown(status.UPSTREAMS, status._upstreams(*samples))}
    assert rows["payment"] == ("1/2", "3", "5.0", "default rq")
    assert rows["auth"] == ("-", "-", "-", "-"), "Envoy does not know it"


@pytest.mark.parametrize(
    ("circuit", "asked"), [("rq", True), ("rq_pending", True), ("rq_retry", True), ("cx", False), ("cx_pool", False)]
)
def test_a_connection_that_all_calls_share_is_no_open_circuit(circuit: str, asked: bool) -> None:
    for priority in ("default", "high"):
        assert bool(re.search(STATS, f"cluster.payment-mesh.circuit_breakers.{priority}.{circuit}_open")) is asked


def test_dead_letters_are_counted_once_over_replicas(
    samples: tuple[Sample, Sample], capsys: pytest.CaptureFixture[str]
) -> None:
    for out in (Output(), Output(as_json=True)):
        status._say_dead_letters(out, samples[1])
    assert capsys.readouterr().out.splitlines() == [
        "payment: 3 dead letters; list them with `azora events list`",
        '{"service":"payment","deadLetters":3}',
    ]


def test_numbers_stay_numbers_in_json(samples: tuple[Sample, Sample], capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).table(status.PROCESSES, status._processes(*samples))
    payment = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (
        payment | {"process": "payment", "callsPerSecond": 100.0, "p50Seconds": 0.1, "uptimeSeconds": 3600} == payment
    )


def test_a_replica_that_was_restarted_has_no_rates(samples: tuple[Sample, Sample]) -> None:
    before, after = (sample.replicas["payment"] for sample in samples)
    before.start_time -= 1
    assert rates(before, after, 2) is None


def test_quantiles_are_interpolated_and_end_at_the_last_bound() -> None:
    assert Rates(0, 0, {}).quantile(0.5) is None
    slow = Rates(1, 0, {0.1: 0, 10.0: 1, float("inf"): 4})
    assert slow.quantile(0.125) == pytest.approx(5.05)
    assert slow.quantile(0.99) == 10.0


@pytest.mark.parametrize(("seconds", "text"), [(59, "59s"), (61, "1m01s"), (7261, "2h01m")])
def test_uptimes(seconds: float, text: str) -> None:
    assert status._duration(seconds) == text
