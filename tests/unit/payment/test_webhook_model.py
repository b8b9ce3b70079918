"""How requests are signed, and when they are repeated."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta

import pytest

from services.payment.webhooks.model import (
    RETRY_DELAYS,
    Attempt,
    Delivery,
    DeliveryState,
    judge,
    new_secret,
    secret_text,
    signed_headers,
)
from tests.support.webhooks import DOCUMENTATION, documented_receiver

NOW = datetime(2026, 11, 26, tzinfo=UTC)
NONE = timedelta(0)


def test_the_published_vector_is_signed_as_published() -> None:
    """The vector of the reference libraries of Standard Webhooks."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert secret_text(secret) == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert signed_headers(
        [secret],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        payload=b'{"test": 2432232314}',
    ) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_secrets_are_random_and_as_long_as_the_hash() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
    assert len(base64.b64decode(secret_text(new_secret()).removeprefix("whsec_"))) == 32


def test_the_documented_receiver_verifies_what_is_signed_and_nothing_else() -> None:
    verify, invalid = documented_receiver()
    old, new, other = new_secret(), new_secret(), new_secret()
    now = int(time.time())
    headers = dict(signed_headers([new, old], message_id="m", timestamp=now, payload=b"{}"))
    verify(secret_text(new), headers, b"{}")
    verify(secret_text(old), headers, b"{}")
    stale = dict(signed_headers([new], message_id="m", timestamp=now - 301, payload=b"{}"))
    for secret, sent, body in (
        (other, headers, b"{}"),
        (new, headers, b"{ }"),
        (new, headers | {"webhook-id": "n"}, b"{}"),
        (new, headers | {"webhook-timestamp": str(now + 1)}, b"{}"),
        (new, headers | {"webhook-signature": "v1, v2,x v1a,"}, b"{}"),
        (new, stale, b"{}"),
    ):
        with pytest.raises(invalid):
            verify(secret_text(secret), sent, body)


def test_the_documented_schedule_is_the_declared_one() -> None:
    page = DOCUMENTATION.read_text()
    units = {"hours": timedelta(hours=1), "minutes": timedelta(minutes=1), "seconds": timedelta(seconds=1)}
    for number, delay in enumerate(RETRY_DELAYS, start=2):
        unit, size = next((unit, size) for unit, size in units.items() if delay >= size)
        assert f"| {number} | {delay // size} {unit} |" in page
    assert f"| {len(RETRY_DELAYS) + 2} |" not in page


def _delivery(failures: int) -> Delivery:
    return Delivery("d", "w", "e", "t", b"{}", NOW, DeliveryState.PENDING, failures, NOW, ())


def _attempt(status: int) -> Attempt:
    return Attempt(NOW, status, "" if status else "TIMED_OUT", 1)


@pytest.mark.parametrize("status", [200, 204, 299])
def test_success_delivers(status: int) -> None:
    assert judge(_delivery(3), _attempt(status), retry_after=NONE, jitter=0).state is DeliveryState.DELIVERED


@pytest.mark.parametrize("status", [0, 199, 301, 302, 307, 400, 404, 410, 429, 500, 503])
def test_everything_else_is_tried_again_by_the_schedule(status: int) -> None:
    for failures, delay in enumerate(RETRY_DELAYS):
        for jitter, factor in ((-1, 0.9), (0, 1), (1, 1.1)):
            outcome = judge(_delivery(failures), _attempt(status), retry_after=NONE, jitter=jitter)
            assert (outcome.state, outcome.delay) == (DeliveryState.PENDING, delay * factor)
    last = judge(_delivery(len(RETRY_DELAYS)), _attempt(status), retry_after=NONE, jitter=0)
    assert last.state is DeliveryState.FAILED


def test_a_receiver_may_ask_for_a_longer_delay_up_to_a_day() -> None:
    def delay(retry_after: timedelta) -> timedelta:
        return judge(_delivery(0), _attempt(503), retry_after=retry_after, jitter=0).delay

    assert delay(timedelta(seconds=1)) == RETRY_DELAYS[0]
    assert delay(timedelta(minutes=1)) == timedelta(minutes=1)
    assert delay(timedelta(days=9)) == timedelta(days=1)


def test_attempts_are_kept_as_they_were() -> None:
    assert Attempt.of(_attempt(0).record()) == _attempt(0)
