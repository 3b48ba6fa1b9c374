"""RateLimit-Policy and RateLimit."""

from __future__ import annotations

from revproxy.http.blocks import ResponseBlock
from revproxy.http.message import DATE, Headers, Response
from revproxy.http.serialise import response_lines
from revproxy.limits.ratefields import Fields, Policy, whole

FIELDS = Fields([Policy("burst", 100, 60), Policy("daily", 1000, 86400)])


def values(numbers: tuple[tuple[int, int] | None, ...]) -> list[tuple[bytes, bytes]]:
    told = FIELDS.told(numbers)
    assert told is not None
    return [f[:2] for f in told.fields]


def test_both_are_lists_of_strings_with_parameters() -> None:
    assert values(((50, 30), (999, 86400))) == [
        (b"ratelimit-policy", b'"burst";q=100;w=60, "daily";q=1000;w=86400'),
        (b"ratelimit", b'"burst";r=50;t=30, "daily";r=999;t=86400'),
    ]


def test_a_limit_that_does_not_count_a_request_is_left_out() -> None:
    assert values((None, (0, 1))) == [
        (b"ratelimit-policy", b'"daily";q=1000;w=86400'),
        (b"ratelimit", b'"daily";r=0;t=1'),
    ]
    assert FIELDS.told((None, None)) is None


def test_fields_are_made_once_for_their_numbers_and_not_without_bound() -> None:
    fields = Fields([Policy("a", 1, 1)])
    first = fields.told(((1, 1),))
    assert fields.told(((1, 1),)) is first
    for n in range(2000):
        fields.told(((n, 1),))
    assert len(fields.known) <= 512


def test_seconds_are_rounded_up_but_for_rounding_itself() -> None:
    assert [whole(x) for x in (0.0, 1e-9, 0.01, 1.0, 1.0000000001, 1.01, 359.9999)] == [0, 0, 1, 1, 1, 2, 360]


def repeated() -> Response:
    fields = Headers.of([(b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"), (b"Server", b"x"), (b"Content-Length", b"3")])
    return ResponseBlock(Response(200, fields, reason=b"OK", length=3, kinds=DATE), 3, True, None).response


def test_a_head_that_repeats_is_made_once_and_its_original_is_not_touched() -> None:
    told = FIELDS.told(((1, 2), None))
    assert told is not None
    response = repeated()
    before = response_lines(response)
    head = told.added(response)
    assert told.added(response) is head and head is not response
    assert response_lines(response) == before and b"RateLimit" not in before
    wire = response_lines(head)
    assert wire == before + b'RateLimit-Policy: "burst";q=100;w=60\r\nRateLimit: "burst";r=1;t=2\r\n'
    assert head.headers.get(b"ratelimit") == b'"burst";r=1;t=2' and head.length == 3
    # as if it had been serialised anew
    plain = head.copy()
    assert sorted(response_lines(plain).split(b"\r\n")) == sorted(wire.split(b"\r\n"))
    assert told.added(repeated()) is not head


def test_a_head_of_its_own_is_changed() -> None:
    told = FIELDS.told(((1, 2), None))
    assert told is not None
    response = Response(200, Headers.of([(b"RateLimit", b'"backend";r=1')]))
    assert told.added(response) is response
    assert response.headers.get_all(b"ratelimit") == [b'"backend";r=1', b'"burst";r=1;t=2']


def test_the_fields_of_two_sets() -> None:
    one, other = FIELDS.told(((1, 2), None)), FIELDS.told((None, (3, 4)))
    assert one is not None and other is not None
    assert one.plus(other).fields == [*one.fields, *other.fields]
