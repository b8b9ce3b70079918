"""Channels that dial again when the files of their certificate are renewed, before it expires.

A grpc channel keeps the certificate that it was made with. So each call is made through the channel of the newest one;
the former channel is closed by nobody: it goes when the last call holds it no more.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

import grpc
from azora.client._dialing import read_credentials
from azora.client.certificates import CertificateFiles
from grpc import aio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Self

LOOK_SECONDS = 1.0
"""Minimum time between two looks at the files: certificates are to be renewed earlier than this before they expire."""

Dialed = TypeVar("Dialed", bound=aio.Channel | grpc.Channel)


class _Renewing(Generic[Dialed]):
    """The channel of the newest certificate, and methods that are called through it."""

    def __init__(self, files: Sequence[Path], dial: Callable[[grpc.ChannelCredentials], Dialed]) -> None:
        self._files = CertificateFiles(files, read_credentials)
        self._dial = dial
        self._lock = threading.Lock()
        self._look_at = time.monotonic() + LOOK_SECONDS
        self._newest = dial(self._files.load())
        self._former: WeakSet[Any] = WeakSet()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return a method."""
        return _Method(lambda: self.newest.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return a method."""
        return _Method(lambda: self.newest.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return a method."""
        return _Method(lambda: self.newest.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return a method."""
        return _Method(lambda: self.newest.stream_stream(*args, **kwargs))

    @property
    def newest(self) -> Dialed:
        """The channel to make calls through."""
        if time.monotonic() >= self._look_at:
            with self._lock:
                self._look()
        return self._newest

    def every(self) -> list[Any]:
        """Return the channels to close, of which there will be no more."""
        with self._lock:
            self._look_at = float("inf")
            return [self._newest, *self._former]

    def _look(self) -> None:
        self._look_at = time.monotonic() + LOOK_SECONDS
        credentials = self._files.renewed()
        if credentials is not None:
            self._former.add(self._newest)
            self._newest = self._dial(credentials)


class _Method:
    """A method of the newest channel."""

    def __init__(self, method: Callable[[], Any]) -> None:
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        method = self._method()
        call = method(*args, **kwargs)
        if isinstance(call, aio.Call):
            call.add_done_callback(lambda _call: method)  # Keeps the method's channel until then.
        return call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method(), name)


class RenewingChannel(_Renewing[aio.Channel], aio.Channel):
    """A grpc.aio channel whose certificate is renewed."""

    async def close(self, grace: float | None = None) -> None:
        """Close it, with all that is left of former ones."""
        await asyncio.gather(*(channel.close(grace) for channel in self.every()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the newest channel's state."""
        return self.newest.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the newest channel's state is another."""
        await self.newest.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the newest channel is connected."""
        await self.newest.channel_ready()


class RenewingBlockingChannel(_Renewing[grpc.Channel], grpc.Channel):
    """A blocking channel whose certificate is renewed."""

    def close(self) -> None:
        """Close it, with all that is left of former ones."""
        for channel in self.every():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        """Subscribe to the newest channel's states."""
        self.newest.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        """Unsubscribe from the states of all channels."""
        for channel in (self._newest, *self._former):
            channel.unsubscribe(callback)
