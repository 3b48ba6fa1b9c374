"""Frames: what is found in bytes that begin with one."""

from __future__ import annotations

from hypothesis import given, strategies as st

from revproxy.http.h2frames import DATA, HEADERS, RST_STREAM, frame, rst_stream, taken_back

KINDS = st.sampled_from((DATA, HEADERS, RST_STREAM, 200))


def test_what_is_taken_back():
    data = frame(HEADERS, 5, 1, b"block") + frame(HEADERS, 5, 3, rst_stream(5, 8)) + rst_stream(1, 8) + rst_stream(7, 0)
    assert taken_back(data) == {1, 7}
    assert taken_back(b"") == frozenset()


@given(st.lists(st.tuples(KINDS, st.integers(0, 2**31 - 1), st.binary(max_size=40))), st.integers(0, 60))
def test_whole_frames_count_and_the_beginning_of_one(frames, cut):
    data = b"".join([frame(kind, 0, stream, payload) for kind, stream, payload in frames])
    data = data[: len(data) - cut] if cut < len(data) else b""
    expected, at = set(), 0
    for kind, stream, payload in frames:
        if kind == RST_STREAM and at + 9 <= len(data):
            expected.add(stream)
        at += 9 + len(payload)
    assert taken_back(data) == expected


@given(st.binary(max_size=300))
def test_any_bytes(data):
    taken_back(data)
