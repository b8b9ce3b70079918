"""The story: a newcomer earns the price of a second course by finishing the first, buys it, and thinks again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from rich.console import Console

    from services.demo.learner import Course, Learner, Movement

Value = TypeVar("Value")

PASSWORD = "a long walk to the library"  # noqa: S105 - of accounts that the demo makes for itself
TIMEOUT_SECONDS = 15
POLL_SECONDS = 0.1
BAR_CELLS = 20
COMPLETE_BASIS_POINTS = 10_000


class BalanceWrong(Exception):
    """A balance is not what the story so far has made it."""


async def tell(learner: Learner, email: str, console: Console) -> dict[str, str | int]:
    """Play the story and return how it went. Raises BalanceWrong, or what the learner raises."""
    console.rule(f"[bold cyan]A learner, over {learner.way}")
    await learner.register(email, PASSWORD, "Lindiwe Learner")
    name = await learner.login(email, PASSWORD)
    console.print(f"[green]✓[/] {name} registers and signs in as [dim]{email}[/]")
    await _expect(learner, 0)
    free, paid = _choose(await learner.courses())
    console.print(f"[green]✓[/] The catalogue has [bold]{free.title}[/] (free, earns {azr(free.reward_minor)})")
    console.print(f"  and [bold]{paid.title}[/] (costs {azr(paid.price_minor)}); the wallet holds {azr(0)}")
    await _finish(learner, free, console)
    balance = await _until("the reward", learner.available, lambda amount: amount == free.reward_minor)
    console.print(f"[green]✓[/] The reward arrives: the wallet holds [bold]{azr(balance)}[/]")
    returned = await _buy_and_return(learner, paid, balance, console)
    console.print(_statement(await learner.history()))
    return {
        "over": learner.way,
        "email": email,
        "completed": free.title,
        "bought": paid.title,
        "refundedMinor": returned,
        "balanceMinor": balance,
    }


async def _finish(learner: Learner, course: Course, console: Console) -> None:
    enrollment = await learner.enroll(course.id, str(uuid4()))
    console.print(f"[green]✓[/] Enrols in {course.title}")
    for lesson_id, title in await learner.lessons(course.id):
        enrollment = await learner.complete(enrollment.id, lesson_id)
        done = enrollment.basis_points * BAR_CELLS // COMPLETE_BASIS_POINTS
        bar = f"[green]{'█' * done}[/][dim]{'░' * (BAR_CELLS - done)}[/]"
        console.print(f"  {bar} {enrollment.basis_points / 100:6.2f} %  {title}")
    if enrollment.state != "completed":
        raise BalanceWrong(f"every lesson is complete, but the enrolment is {enrollment.state}")


async def _buy_and_return(learner: Learner, course: Course, balance: int, console: Console) -> int:
    key = str(uuid4())
    enrollment = await learner.enroll(course.id, key)
    console.print(f"[green]✓[/] Buys {course.title} for {azr(course.price_minor)}")
    again = await learner.enroll(course.id, key)
    if again != enrollment:
        raise BalanceWrong("the same idempotency key made a second purchase")
    console.print("[green]✓[/] Presses the button twice: the same key, the same enrolment, one payment")
    await _expect(learner, balance - course.price_minor)
    returned = await learner.refund(enrollment.payment_id, "Not today after all")
    console.print(f"[green]✓[/] Thinks again and gets {azr(returned)} back")
    await _expect(learner, balance)

    async def state() -> str:
        return (await learner.enrollment(enrollment.id)).state

    await _until("the enrolment to be cancelled", state, lambda state: state == "cancelled")
    console.print(f"[green]✓[/] The enrolment is cancelled; the wallet holds [bold]{azr(balance)}[/]")
    return returned


def _choose(courses: Sequence[Course]) -> tuple[Course, Course]:
    free = next((course for course in courses if not course.price_minor and course.reward_minor), None)
    paid = next((course for course in courses if free and 0 < course.price_minor <= free.reward_minor), None)
    if free is None or paid is None:
        raise BalanceWrong("the catalogue has no free course that earns the price of another: start without --no-seed")
    return free, paid


async def _expect(learner: Learner, amount: int) -> None:
    available = await learner.available()
    if available != amount:
        raise BalanceWrong(f"wallet balance is {azr(available)}, expected {azr(amount)}")


async def _until(what: str, read: Callable[[], Awaitable[Value]], good: Callable[[Value], bool]) -> Value:
    """Read until it is good: events between services arrive a moment later."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not good(value := await read()):
        if time.monotonic() > deadline:
            raise BalanceWrong(f"timed out after {TIMEOUT_SECONDS} s waiting for {what}; last value: {value}")
        await asyncio.sleep(POLL_SECONDS)
    return value


def _statement(history: Sequence[Movement]) -> Table:
    table = Table(title="The wallet's history", title_justify="left", title_style="dim")
    table.add_column("what")
    table.add_column("amount", justify="right")
    table.add_column("balance", justify="right")
    table.add_column("for")
    for movement in reversed(history):
        colour = "green" if movement.amount_minor > 0 else "red"
        table.add_row(
            movement.kind,
            f"[{colour}]{azr(movement.amount_minor)}[/]",
            azr(movement.balance_after_minor),
            movement.description,
        )
    return table


def azr(minor: int) -> str:
    """Return an amount of AZR as people write it: 4900 is "49.00 AZR"."""
    sign = "-" if minor < 0 else ""
    return f"{sign}{abs(minor) // 100:,}.{abs(minor) % 100:02} AZR"
