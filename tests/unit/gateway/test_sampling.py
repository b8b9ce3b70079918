"""Samples of the metrics: what is a rate, and what is not."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest

from services.gateway.console import convert
from services.gateway.console.operations import Mesh
from services.gateway.console.sampling import MAX_SAMPLES, SAMPLE_SECONDS, Sampler, _series, counts_of
from services.gateway.metrics import ReplicaMetrics
from services.gateway.rates import DURATION

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

METHOD = "azora.payment.v1.WalletService/GetWallet"


class Process:
    """A process whose metrics a test writes."""

    def __init__(self, start_time: float = 1000.0) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            DURATION, "Duration.", ("method", "code"), registry=self._registry, buckets=(0.1, 1.0)
        )
        self._start_time = start_time
        self.cpu_seconds = 0.0

    def call(self, seconds: float, code: str = "OK", times: int = 1) -> None:
        """Count calls."""
        for _ in range(times):
            self._seconds.labels(METHOD, code).observe(seconds)

    def text(self) -> bytes:
        """Return the metrics."""
        own = f"process_start_time_seconds {self._start_time}\nprocess_cpu_seconds_total {self.cpu_seconds}\n"
        return generate_latest(self._registry) + own.encode() + b'azora_build_info{version="1.2.3"} 1.0\n'


class Clock:
    """Metrics of processes, one after another."""

    def __init__(self, streams: Container[str] = ()) -> None:
        self.pages: deque[Sequence[ReplicaMetrics]] = deque()
        self.sampler = Sampler(self._collect, streams)

    async def _collect(self) -> Sequence[ReplicaMetrics]:
        return self.pages.popleft()

    async def take(self, *texts: bytes | None, seconds: float = 2.0) -> None:
        """Take a sample so many seconds after the one before."""
        self.pages.append([ReplicaMetrics("payment", number, text) for number, text in enumerate(texts)])
        self.sampler._taken_at -= seconds
        await self.sampler.take()


async def test_rates_are_those_of_all_replicas_between_two_samples() -> None:
    clock, one, other = Clock(), Process(), Process()
    one.call(0.05, times=100)
    await clock.take(one.text(), other.text())
    assert clock.sampler.samples() == []
    one.call(0.05, times=15)
    other.call(0.5, "UNAVAILABLE", times=5)
    await clock.take(one.text(), other.text())
    (sample,) = clock.sampler.samples()
    rates = sample.methods[METHOD]
    assert rates.calls_per_second == pytest.approx(10, rel=0.2)
    assert rates.errors_per_second == pytest.approx(2.5, rel=0.2)
    assert rates.p50_seconds == pytest.approx(0.1 * 10 / 15)
    assert 0.1 < rates.p99_seconds <= 1.0
    await clock.take(one.text(), other.text())
    assert clock.sampler.samples()[-1].methods == {}


async def test_a_process_that_was_restarted_counts_from_zero_and_one_that_comes_back_is_no_burst() -> None:
    clock, before, after = Clock(), Process(1000), Process(2000)
    before.call(0.05, times=50)
    await clock.take(before.text())
    after.call(0.05, times=4)
    await clock.take(after.text())
    assert clock.sampler.samples()[-1].methods[METHOD].calls_per_second == pytest.approx(2, rel=0.2)
    await clock.take(None)
    after.call(0.05, times=100)
    await clock.take(after.text())
    assert clock.sampler.samples()[-1].methods == {}


async def test_waiting_for_a_process_that_does_not_answer_changes_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now, process, silences = 100.0, Process(), deque([0.0, 2.0, 0.0])
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)

    async def collect() -> Sequence[ReplicaMetrics]:
        nonlocal now
        text = process.text()
        now += silences.popleft()
        return [ReplicaMetrics("payment", 0, text)]

    sampler = Sampler(collect)
    await sampler.take()
    for rate in (5, 2.5):  # 10 calls in 2 s; then in 4 s, as the sample between waited for 2 s.
        process.call(0.05, times=10)
        now += 2.0
        await sampler.take()
        assert sampler.samples()[-1].methods[METHOD].calls_per_second == rate


async def test_a_stream_lasts_as_long_as_its_client_likes_and_is_not_slow() -> None:
    clock, process = Clock(streams={METHOD}), Process()
    await clock.take(process.text())
    process.call(60, times=4)
    await clock.take(process.text())
    rates = clock.sampler.samples()[-1].methods[METHOD]
    assert rates.calls_per_second > 0
    assert rates.p50_seconds == rates.p99_seconds == 0


async def test_ten_minutes_are_kept_and_only_what_is_new_is_answered() -> None:
    clock, process = Clock(), Process()
    assert MAX_SAMPLES * SAMPLE_SECONDS == 600
    for _ in range(MAX_SAMPLES + 3):
        process.call(0.05)
        await clock.take(process.text())
    kept = clock.sampler.samples()
    assert len(kept) == MAX_SAMPLES
    assert clock.sampler.samples(kept[-3].time) == kept[-2:]


async def test_what_is_answered_has_a_value_for_each_sample() -> None:
    clock, process = Clock(), Process()
    await clock.take(process.text(), None)
    process.call(0.05, times=2)
    process.cpu_seconds = 1.0
    await clock.take(process.text(), None)
    await clock.take(process.text(), None)
    replicas = [(replica, clock.sampler.cpu_share(replica)) for replica in clock.sampler.replicas]
    answer = convert.get_mesh_response(Mesh({"payment": True, "gateway": False}, replicas, clock.sampler.samples()))
    (series,) = answer.methods
    assert len(answer.sample_times) == len(series.calls_per_second) == len(series.p99_seconds) == 2
    assert series.calls_per_second[0] > 0
    assert series.calls_per_second[1] == 0
    payment, gateway = answer.services
    assert [(replica.answers, replica.version) for replica in payment.replicas] == [(True, "1.2.3"), (False, "")]
    assert payment.healthy
    assert not gateway.healthy


def test_a_series_is_parsed_once() -> None:
    process = Process()
    for code in ("OK", "NOT_FOUND", "INTERNAL"):
        process.call(0.05, code, times=2)
        before = counts_of(ReplicaMetrics("payment", 0, process.text()))
        parsed = _series.cache_info().misses
        after = counts_of(ReplicaMetrics("payment", 0, process.text()))
        assert _series.cache_info().misses == parsed
        assert after == before
    assert after.methods[METHOD].errors == 2
    assert after.methods[METHOD].buckets == {0.1: 6, 1.0: 6, float("inf"): 6}


def test_metrics_that_are_none_are_told_from_metrics_without_calls() -> None:
    assert not counts_of(ReplicaMetrics("payment", 0, None)).answers
    assert counts_of(ReplicaMetrics("payment", 0, Process().text())).answers
    with pytest.raises(ValueError, match="could not convert"):
        counts_of(ReplicaMetrics("payment", 0, b"process_start_time_seconds x y z\n"))
