"""What ends a run, each with a text for whoever runs it."""


class BenchmarkError(Exception):
    """The run cannot go on."""


class DidNotStart(BenchmarkError):
    """Something that is measured did not start."""


class WrongAnswer(BenchmarkError):
    """A request was not answered as it must be, so nothing may be concluded from how fast that was."""
