"""The two courses of a development system, with lessons that a person can learn from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SeedQuestion:
    """A question of a quiz: one of its options is right."""

    prompt: str
    options: tuple[str, ...]
    right: int
    """Place of the right option."""
    explanation: str


@dataclass(frozen=True, slots=True)
class SeedCourse:
    """A course to write: its modules are pairs of a title and its lessons, those pairs of a title and a text."""

    title: str
    description: str
    price_minor: int
    reward_minor: int
    modules: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    quiz: tuple[SeedQuestion, ...]
    """The pool of an optional quiz at the end of the last module."""


PYTHON = SeedCourse(
    title="Python Programming Basics",
    description="From the first line to functions that you would show to others. No experience needed.",
    price_minor=0,
    reward_minor=50_00,
    modules=(
        (
            "First steps",
            (
                (
                    "Talking to Python",
                    "Start `python3` in a terminal: the prompt `>>>` reads an expression, works it out and prints the "
                    "result. Try `6 * 7`, then `print('Hello')`. What you type at the prompt is gone when you leave; "
                    "what you keep in a file named `hello.py` runs again with `python3 hello.py`.",
                ),
                (
                    "Names and values",
                    "`price = 49` gives the value 49 the name price. A name holds no type: `price = 'free'` is fine a "
                    "line later. Values do have one: `type(49)` is int, `type(4.9)` float, `type('49')` str. Money is "
                    "best counted in whole cents: `0.1 + 0.2` is not `0.3`, and cents never surprise you.",
                ),
            ),
        ),
        (
            "Deciding and repeating",
            (
                (
                    "if, elif, else",
                    "A program decides by asking whether something is true: `if balance >= price:` runs the indented "
                    "lines below it only then. `elif` asks again, `else` is what remains. Empty things count as false: "
                    "`if names:` asks whether the list has anything in it.",
                ),
                (
                    "for and while",
                    "`for lesson in lessons:` does the same for each item; `while` goes on as long as its question is "
                    "true. Prefer `for`: it cannot run for ever. `enumerate(lessons, start=1)` gives a number along "
                    "with each item, so that you never count by hand.",
                ),
            ),
        ),
        (
            "Functions",
            (
                (
                    "Writing a function",
                    "`def total(prices): return sum(prices)` names a piece of work. What goes in stands in the "
                    "brackets, what comes out behind `return`. A good function does one thing, and its name says it.",
                ),
                (
                    "Saying what goes in and out",
                    "`def total(prices: list[int]) -> int:` tells a reader, and tools such as mypy, what the function "
                    "expects and gives. Python itself does not check it; a checker in your editor does, before your "
                    "users do.",
                ),
            ),
        ),
    ),
    quiz=(
        SeedQuestion(
            "What does type('49') return?",
            ("int", "str", "float"),
            1,
            "Quotes make a text, whatever stands between them.",
        ),
        SeedQuestion(
            "Why is money counted in whole cents?",
            ("Integers are exact, and 0.1 + 0.2 is not 0.3", "Integers are printed faster", "Python has no fractions"),
            0,
            "Floating-point numbers round; integers do not.",
        ),
        SeedQuestion(
            "Which loop cannot run for ever over a list?",
            ("while True:", "for lesson in lessons:", "both"),
            1,
            "A for loop ends with the list.",
        ),
        SeedQuestion(
            "What checks that a caller passes the annotated types?",
            ("Python, when the function is called", "A type checker such as mypy", "Nothing can"),
            1,
            "Python ignores annotations at run time; tools read them.",
        ),
    ),
)

WEB = SeedCourse(
    title="Web Development Fundamentals",
    description="How a page gets to a screen: HTTP, HTML and a little JavaScript, understood rather than copied.",
    price_minor=49_00,
    reward_minor=75_00,
    modules=(
        (
            "How the web speaks",
            (
                (
                    "A request and its answer",
                    "A browser sends a method, a path and headers: `GET /v1/courses`. The server answers with status, "
                    "headers and a body. 2xx went well, 4xx is the caller's doing, 5xx the server's. `curl -v` shows "
                    "both sides of the talk.",
                ),
                (
                    "Methods that may be repeated",
                    "GET reads and changes nothing, so it may be sent again at will. PUT and DELETE may be repeated, "
                    "too: the second does nothing new. POST may not, unless the request carries a key by which the "
                    "server knows it again. That is what the header Idempotency-Key is for.",
                ),
            ),
        ),
        (
            "Structure and style",
            (
                (
                    "HTML says what things are",
                    "`<h1>` is the heading, `<nav>` the navigation, `<button>` something to press. Say what a thing "
                    "is and screen readers, search engines and keyboards work by themselves. A `<div>` that looks like "
                    "a button is none.",
                ),
                (
                    "CSS says how they look",
                    "A rule picks elements and sets properties: `h1 { color: teal }`. The cascade decides between "
                    "rules: the more specific wins, then the later. Lay out with grid for two dimensions and flexbox "
                    "for one.",
                ),
            ),
        ),
        (
            "Making it move",
            (
                (
                    "Events",
                    "`button.addEventListener('click', save)` asks the browser to call save when the button is "
                    "pressed. Handlers should be short: while one runs, the page does not answer.",
                ),
                (
                    "Fetching without reloading",
                    "`const answer = await fetch('/v1/courses')` asks the server in the background. Look at "
                    "`answer.ok` before you read `await answer.json()`: fetch fails only when nobody answered at all.",
                ),
            ),
        ),
    ),
    quiz=(
        SeedQuestion(
            "Which status says that the caller made a mistake?",
            ("204", "404", "503"),
            1,
            "4xx is the caller's doing, 5xx the server's.",
        ),
        SeedQuestion(
            "When may a POST be sent again?",
            ("Always", "Never", "When it carries a key by which the server knows it again"),
            2,
            "That is what the header Idempotency-Key is for.",
        ),
        SeedQuestion(
            "Which element is something to press?",
            ("<button>", "<div class='button'>", "<h1>"),
            0,
            "Keyboards and screen readers know what a button is.",
        ),
        SeedQuestion(
            "When does fetch fail?",
            ("When the status is 4xx or 5xx", "When nobody answered at all", "When the body is empty"),
            1,
            "Look at `answer.ok` for the status.",
        ),
    ),
)

COURSES = (PYTHON, WEB)
