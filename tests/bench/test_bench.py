"""The measuring itself: answers are cut right, CPU of dead children counts, ratios compare like with like."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.cpu import tree_ms
from bench.load import _answer_end
from bench.report import Sample, ratios, summarise


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_an_answer_ends_where_its_head_says_and_not_before(answer: bytes) -> None:
    """However an answer is framed, it is complete with its last byte only, and the next one is left alone."""
    assert all(not _answer_end(bytearray(answer[:length])) for length in range(len(answer)))
    assert _answer_end(bytearray(answer + b"HTTP/1.1 200")) == len(answer)


def test_cpu_of_a_child_that_ended_counts() -> None:
    """A tree's CPU holds what its dead used; else a daemon could hide work in children."""
    before = tree_ms(os.getpid())
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert tree_ms(os.getpid()) - before >= 290


def test_ratios_are_of_the_same_load_or_of_the_one_that_is_named() -> None:
    """A load that only we have is held against the one it names, at the same number of connections."""
    samples = [
        Sample("creds", "openbao", 1, 2.0, 100, 300, 100, 0, [1.0] * 100),
        Sample("creds light", "secretd", 1, 1.0, 100, 100, 100, 0, [2.0] * 100),
        Sample("creds light", "secretd", 16, 1.0, 100, 100, 100, 0, [2.0] * 100),
    ]
    found = ratios(summarise(samples), {"creds light": "creds"})
    assert found == [
        {"load": "creds light", "connections": 1, "rate": 2.0, "per_cpu_second": 2.0, "p99": 2.0}
    ]
