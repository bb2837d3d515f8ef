"""The LIST verb through aiohttp's compiled request parser, which answers LIST with 400 by itself.

:class:`VerbParser` stands before that parser and spells a leading LIST as LINK: same length, known to
the parser, no verb of Vault's. The message that comes out gets its verb back; a client's LINK stays one.
What would make this dangerous is a LIST inside somebody's body being taken for a request line, so:

1. bytes go to the parser in pieces that end where the message *may* end (:class:`Framing`);
2. only the parser says that it *did* end there: the message is out and its payload is at end of file;
3. only then is the next byte a request line, and only there is a verb respelt;
4. where the parser disagrees with a cut, the connection gets a 400 and closes;
5. while the request queue is full or a payload has stopped reading, nothing is fed: the parser may
   keep a tail then, and we could not say where it stands.

A private face of aiohttp is used throughout; ``runner.py`` refuses to start without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.streams import EMPTY_PAYLOAD

if TYPE_CHECKING:
    from aiohttp.web_protocol import RequestHandler

VERB: Final = "LIST"
_VERB: Final = b"LIST "
_STAND_IN: Final = b"LINK "
_HEAD_END: Final = b"\r\n\r\n"
_MAX_CHUNK_LINE: Final = 8190  # bytes; aiohttp's own limit of a line


class Framing:
    """Where the message under way may end. It only places cuts, so a wrong reading costs a 400, no more."""

    __slots__ = ("_before", "_in_chunks", "_left", "may_end")

    def __init__(self) -> None:
        self.may_end = False  # the last cut is such a place
        self._left = 0  # bytes to the end of the body, or of this chunk and its CRLF
        self._in_chunks = False  # a chunk's size comes after them
        self._before = b""  # last bytes of a head or trailer, for an end that two packets share

    def expect_body(self, *, length: int, in_chunks: bool) -> None:
        """Say what follows the head that has just ended; ``length`` in bytes."""
        self.may_end = False
        self._in_chunks = in_chunks
        self._left = 0 if in_chunks else length

    def cut(self, data: bytes, pos: int) -> int:
        """Return how far to feed from ``pos``: to the first possible end, else as far as is understood.

        ``pos`` itself means that more bytes are needed. Raises BadHttpMessage for chunks that are none.
        """
        self.may_end = False
        if not self._left and not self._in_chunks:
            return self._cut_lines(data, pos, pos)
        search, size = pos, len(data)
        while True:
            step = min(self._left, size - search)
            search, self._left = search + step, self._left - step
            if not self._in_chunks:
                self.may_end = not self._left
                return search
            if search == size or (line_end := self._chunk_line(data, search)) < 0:
                return search
            if not self._in_chunks:  # that was the last chunk: trailers, up to an empty line
                return self._cut_lines(data, pos, line_end)
            search = line_end + 2

    def _chunk_line(self, data: bytes, start: int) -> int:
        """Read a chunk's size and return where its line ends; -1 if it is not all there."""
        end = data.find(b"\r\n", start)
        if end < 0:
            if len(data) - start > _MAX_CHUNK_LINE:
                raise BadHttpMessage("chunk size line too long")
            return -1
        try:
            size = int(data[start:end].partition(b";")[0], 16)
        except ValueError:
            raise BadHttpMessage("invalid chunk size") from None
        self._in_chunks = size > 0
        self._left = size + 2 if size > 0 else 0
        return end

    def _cut_lines(self, data: bytes, pos: int, search: int) -> int:
        across = (self._before + data[pos : pos + 3]).find(_HEAD_END) if self._before else -1
        if across >= 0:
            end = pos + across + len(_HEAD_END) - len(self._before)
        elif (found := data.find(_HEAD_END, search)) >= 0:
            end = found + len(_HEAD_END)
        else:
            self._before = (self._before + data[max(search, len(data) - 3) :])[-3:]
            return len(data)
        self.may_end, self._before = True, b""
        return end


class VerbParser:
    """aiohttp's parser with one verb more. Offers what aiohttp 3.14 calls on its parser."""

    __slots__ = (
        "_at_start",
        "_feed_inner",
        "_framing",
        "_held",
        "_in_head",
        "_payload",
        "_protocol",
        "_respelt",
        "_stalled",
        "feed_eof",
        "message_consumed",
        "pause_reading",
        "set_upgraded",
    )

    def __init__(self, inner: Any, protocol: RequestHandler) -> None:
        self._feed_inner = inner.feed_data
        self.feed_eof, self.set_upgraded = inner.feed_eof, inner.set_upgraded
        self.pause_reading, self.message_consumed = inner.pause_reading, inner.message_consumed
        self._protocol = protocol
        self._framing = Framing()
        self._payload: Any = EMPTY_PAYLOAD  # of the newest message
        self._at_start = True  # the parser stands exactly between two messages
        self._in_head = False  # a request line has begun, its message is not out yet
        self._respelt = False  # that request line was a LIST
        self._stalled = False  # rule 5
        self._held = b""  # received, not fed yet

    def feed_data(self, data: bytes) -> tuple[list[Any], bool, bytes]:
        """Take what the network gave; return messages, whether the connection is upgraded, and its tail."""
        out: list[Any] = []
        data = self._held + data if self._held else bytes(data)
        self._held = b""
        if self._stalled:
            if self._is_full(0):
                self._held = data
                return out, False, b""
            upgraded, tail = self._feed(b"", out)  # what the parser itself has kept comes first
            if upgraded:
                return out, True, tail + data
        return self._feed_pieces(data, out)

    def _feed_pieces(self, data: bytes, out: list[Any]) -> tuple[list[Any], bool, bytes]:
        pos = 0
        while pos < len(data) and not self._stalled:
            respelt = False
            if self._at_start:
                if data[pos] in b"\r\n":  # blank lines before a request line: the parser skips them too
                    pos += 1
                    continue
                respelt = data.startswith(_VERB, pos)
                if not respelt and _VERB.startswith(data[pos : pos + len(_VERB)]):
                    break  # the verb itself is cut
                self._at_start, self._in_head, self._respelt = False, True, respelt
            end = self._framing.cut(data, pos)
            if end == pos:
                break  # a chunk's size is cut
            upgraded, tail = self._feed(_respell(data[pos:end]) if respelt else data[pos:end], out)
            pos = end
            if upgraded:
                return out, True, tail + data[pos:]
        self._held = data[pos:]
        return out, False, b""

    def _is_full(self, fresh: int) -> bool:
        protocol: Any = self._protocol
        waiting = len(protocol._messages) + fresh  # noqa: SLF001 -- runner.py checks the names
        return bool(protocol._reading_paused or waiting >= protocol._max_msg_queue_size)  # noqa: SLF001 -- as above

    def _feed(self, piece: bytes, out: list[Any]) -> tuple[bool, bytes]:
        messages, upgraded, tail = self._feed_inner(piece)
        for message, payload in messages:
            out.append((self._accept(message, payload), payload))
        self._stalled = self._is_full(len(out))
        if not self._in_head and not self._at_start:
            self._compare(upgraded=upgraded)
        return upgraded, tail

    def _accept(self, message: Any, payload: Any) -> Any:
        """Note a message that came out of the parser, and give it its verb back."""
        if not self._in_head:
            raise BadHttpMessage("ambiguous message framing")
        self._in_head, self._payload = False, payload
        if not payload.is_eof():
            length = int(message.headers.get("Content-Length", 0))
            self._framing.expect_body(length=length, in_chunks=bool(message.chunked))
        if not self._respelt:
            return message
        self._respelt = False
        return message._replace(method=VERB)  # a public method of a named tuple's shape

    def _compare(self, *, upgraded: bool) -> None:
        """Rules 2 and 4: the parser's end of the message and the cut are the same place, or it is a 400."""
        if self._payload.is_eof():
            if not self._framing.may_end and not upgraded:
                raise BadHttpMessage("ambiguous message framing")
            self._at_start = True
        elif self._framing.may_end and not self._stalled:
            raise BadHttpMessage("ambiguous message framing")


def _respell(piece: bytes) -> bytes:
    return _STAND_IN + piece[len(_VERB) :]
