"""The daemon's side of one plugin's child: start it, call it, end it with all that it started.

A child is started by exec with an empty environment and one socket; it fences itself before it imports
the plugin (``sdk/plugin_main.py``). Its crash, exit, hang, garbage or oversize reply fails the calls that
were under way and nothing else. What it prints is counted and dropped: a plugin's tracebacks may hold secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from secretd.core.plugins.orphans import Orphans
from secretd.sdk.errors import PluginError, TargetUnavailableError
from secretd.sdk.plugin_wire import (
    ERRORS,
    METHODS,
    PULSE,
    FrameBuffer,
    FrameError,
    Hello,
    Ready,
    Reply,
    decoder,
    encode_frame,
)

LOOP: Final = "uvloop:new_event_loop"
START_TIMEOUT: Final = 10.0  # seconds; a cold import of a driver on a busy machine
_MARGIN: Final = 0.25  # seconds that the child's own deadline comes earlier: its answer is the better one
_PULSE_TIMEOUT: Final = 1.0
_REPLY: Final = decoder(Reply)
_READY: Final = decoder(Ready)
_BODIES: Final = {name: decoder(types[1]) for name, types in METHODS.items()}
# These may have happened although no answer came: only the plugin's own refusal is definite.
_UNKNOWN_AFTERWARDS: Final = frozenset({"create_user", "change_password", "renew_user", "delete_users"})


class PluginProcess:
    """One child. Make it with :meth:`start`; it is used up once :attr:`is_alive` is False."""

    def __init__(self, hello: Hello, orphans: Orphans) -> None:
        self._hello = hello
        self._orphans = orphans
        self._channel = _Channel(self._end)
        self._child = _Child(orphans.watch, self._forget)
        self._last_id = 0
        self.ready = Ready()

    @classmethod
    async def start(cls, hello: Hello, orphans: Orphans) -> PluginProcess:
        """Start a child and wait until its plugin is loaded. Raises PluginError."""
        process = cls(hello, orphans)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await process._launch()
                process.ready = await process._greet()
        except TimeoutError:
            process._end()
            raise PluginError("the plugin did not start in time") from None
        except BaseException:
            process._end()
            raise
        return process

    async def _launch(self) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        await loop.create_connection(lambda: self._channel, sock=ours)
        fd = theirs.fileno()
        with theirs:
            await loop.subprocess_exec(
                lambda: self._child,
                *(sys.executable, "-I", "-m", "secretd.sdk.plugin_main", str(fd)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={"LC_ALL": "C.UTF-8"},
                cwd="/",
                close_fds=True,
                pass_fds=(fd,),
                start_new_session=True,  # its own process group, which is ended as one
            )

    async def _greet(self) -> Ready:
        self._channel.write(encode_frame(self._hello))
        ready = await self._channel.greeting
        if ready.error:
            raise PluginError(f"the plugin could not be loaded: {ready.error[:80]}")
        return ready

    @property
    def is_alive(self) -> bool:
        """Whether a call may be tried."""
        return self._channel.is_open and not self._child.has_exited

    @property
    def pid(self) -> int:
        """The child's process id, 0 before it has one."""
        return self._child.pid

    @property
    def stderr_bytes(self) -> int:
        """How much the child printed; the text itself is dropped."""
        return self._child.stderr_bytes

    async def call(self, method: str, *args: Any, timeout: float) -> Any:
        """Call once; ``timeout`` in seconds. Raises the contract's errors; silence is TargetUnavailableError."""
        if not self.is_alive:
            raise PluginError("the plugin has ended")
        try:
            self._last_id += 1
            call_id = self._last_id
            frame = encode_frame((call_id, max(timeout - _MARGIN, timeout / 2), method, args))
        except FrameError:
            raise PluginError("the call is too large for a plugin") from None
        reply = await self._exchange(call_id, frame, timeout)
        if reply.error:
            raise _error_of(reply, method)
        try:
            return _BODIES[method].decode(reply.body)
        except (msgspec.DecodeError, ValueError):
            raise _broken(method, "the plugin's answer has the wrong shape") from None

    async def _exchange(self, call_id: int, frame: bytes, seconds: float) -> Reply:
        reply = self._channel.expect(call_id)
        self._channel.write(frame)
        try:
            async with asyncio.timeout(seconds):
                return await reply
        except TimeoutError:
            self._require_pulse()  # its own deadline came first: it is late, or frozen
            raise TargetUnavailableError("the plugin did not answer in time") from None
        finally:
            if self._channel.forget(call_id) and self._channel.is_open:
                self._channel.write(encode_frame((call_id, 0.0, "", None)))

    def _require_pulse(self) -> None:
        """Ask the child for a sign of life; without one it is ended, or it would freeze every target."""
        self._last_id += 1
        pulse = self._channel.expect(self._last_id)
        pulse.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._channel.write(encode_frame((self._last_id, 0.0, PULSE, None)))
        loop = asyncio.get_running_loop()
        loop.call_later(_PULSE_TIMEOUT, lambda: None if pulse.done() else self._end())

    def kill(self) -> None:
        """End the child's group now; open calls end as unknown."""
        self._end()

    async def close(self, grace: float = 1.0) -> None:
        """Let the child give its connections back, at most ``grace`` seconds; then end its whole group."""
        self._channel.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._child.exited.wait()
        self._end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._child.exited.wait()

    def _end(self) -> None:
        """End the group. Harmless when repeated."""
        self._channel.close()
        self._child.kill_group()

    def _forget(self) -> None:
        """The child has exited: its calls have failed, its group goes, and so does what escaped from it."""
        self._channel.fail_all()
        self._end()
        self._orphans.end(self._child.pid, self._hello.limits.memory)


class _Channel(asyncio.Protocol):
    """Replies by id; the end of the pipe ends every wait."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self.greeting: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._on_lost = on_lost
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._buffer = FrameBuffer()
        self._transport: asyncio.WriteTransport | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._buffer.feed(data):
                self._take(body)
        except (FrameError, msgspec.DecodeError):
            self.fail_all()
            self._on_lost()

    def _take(self, body: bytes) -> None:
        if not self.greeting.done():
            self.greeting.set_result(_READY.decode(body))
            return
        reply: Reply = _REPLY.decode(body)
        waiting = self._waiting.pop(reply.id, None)  # None: the call was given up meanwhile
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail_all()
        self._on_lost()

    def expect(self, call_id: int) -> asyncio.Future[Reply]:
        """Return what the reply of that call will be set on."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = future
        return future

    def forget(self, call_id: int) -> bool:
        """Give a call up; True when it was still open."""
        return self._waiting.pop(call_id, None) is not None

    def fail_all(self) -> None:
        """Every open call was sent and got no answer: nothing is known of it."""
        self.is_open = False
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(TargetUnavailableError("the plugin ended during the call"))
        if not self.greeting.done():
            self.greeting.set_exception(PluginError("the plugin ended before it was ready"))
            self.greeting.exception()  # the starter may have gone already

    def write(self, frame: bytes) -> None:
        """Send; silently nothing when closed, the wait then ends by itself."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def close(self) -> None:
        """End the pipe; the child sees the end and goes."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()


class _Child(asyncio.SubprocessProtocol):
    """The child as a process: its exit, its group, how much it printed."""

    def __init__(self, on_start: Callable[[int], None], on_exit: Callable[[], None]) -> None:
        self.exited = asyncio.Event()
        self.stderr_bytes = 0
        self.pid = 0
        self._on_start = on_start
        self._on_exit = on_exit
        self._was_killed = False
        self._transport: asyncio.SubprocessTransport | None = None

    @property
    def has_exited(self) -> bool:
        return self.exited.is_set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.pid = self._transport.get_pid()
        self._on_start(self.pid)  # here, for it may have exited before its starter resumes

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.stderr_bytes += len(data)

    def process_exited(self) -> None:
        self.exited.set()
        self._on_exit()

    def kill_group(self) -> None:
        """Kill every process of the group, once: later the number may be somebody else's."""
        if not self.pid or self._was_killed:
            return
        self._was_killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._transport is not None:
            self._transport.close()


def _error_of(reply: Reply, method: str) -> Exception:
    kind = ERRORS.get(reply.error)
    if kind is None:
        return _broken(method, reply.message)
    return kind(reply.message or None, hint=reply.hint or None)


def _broken(method: str, message: str) -> Exception:
    """A broken promise of the plugin: after a change, nothing is known."""
    return TargetUnavailableError(message) if method in _UNKNOWN_AFTERWARDS else PluginError(message)
