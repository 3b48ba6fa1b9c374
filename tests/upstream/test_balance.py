"""Which backend takes a request, on the wire; the balancers themselves are in ``balance/``."""

from __future__ import annotations

from collections import Counter

from tests.kit import ADDRESS, OK, SECOND, get, toml


def test_in_turn_on_the_wire(play):
    scenario = play(toml("", f'backends = ["{ADDRESS}", {{ endpoint = "{SECOND}", weight = 2 }}]'))
    client = scenario.client()
    for _ in range(6):
        client.send(get())
        for record in (scenario.backend(ADDRESS), scenario.backend(SECOND)):
            for connection in record.connections:
                if connection.unread:
                    connection.expect_request(b"GET", b"/")
                    connection.send(OK)
        client.expect_response(200, b"ok")
    assert Counter(record.backend for record in scenario.log) == {ADDRESS: 2, SECOND: 4}


def test_a_backup_is_asked_when_the_others_refuse(play):
    scenario = play(toml("", f'backends = ["{ADDRESS}", {{ endpoint = "{SECOND}", backup = true }}]'))
    client, main, backup = scenario.client(), scenario.backend(ADDRESS), scenario.backend(SECOND)
    client.send(get())
    main.expect_request(b"GET", b"/")
    main.send(OK)
    client.expect_response(200, b"ok")
    main.connection.close()
    main.refuse()
    client.send(get())
    backup.expect_request(b"GET", b"/")
    backup.send(OK)
    client.expect_response(200, b"ok")
    assert scenario.log[-1].backend == SECOND
