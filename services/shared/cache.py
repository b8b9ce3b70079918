"""Encoded answers in memory: least recently used out, bounded by bytes, valid for one generation of what they show."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

MAX_BYTES = 32 * 1024 * 1024
ENTRY_OVERHEAD_BYTES = 256
"""What an entry costs beside its answer, about: key, pointers, headers of objects."""


class EncodedAnswers:
    """The encoded answers of one process. A new generation drops them all.

    A generation is a number that grows with every change of what is answered. An answer is kept only while the one that
    was current before its data was read still is, so that a slow reader never brings back what has changed.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._answers: OrderedDict[Hashable, bytes] = OrderedDict()
        self.bytes = 0
        """Size of all that is kept."""
        self.generation = 0

    def advance(self, generation: int) -> None:
        """Drop everything if `generation` is newer than the current one."""
        if generation > self.generation:
            self.generation = generation
            self._answers.clear()
            self.bytes = 0

    def find(self, key: Hashable) -> bytes | None:
        """Return the answer under `key`, if it is kept."""
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def keep(self, key: Hashable, answer: bytes, *, generation: int) -> None:
        """Keep an answer whose data was read after `generation` was found to be current."""
        if generation != self.generation or key in self._answers:
            return
        self._answers[key] = answer
        self.bytes += _size(answer)
        while self.bytes > self._max_bytes:
            _, dropped = self._answers.popitem(last=False)
            self.bytes -= _size(dropped)


def _size(answer: bytes) -> int:
    return len(answer) + ENTRY_OVERHEAD_BYTES
