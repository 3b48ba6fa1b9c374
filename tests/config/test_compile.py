"""From what was written to what runs: hooks at their points, limits, handlers, and errors."""

from __future__ import annotations

import pytest

from revproxy.config.compile import compile_config
from revproxy.config.errors import ConfigError
from revproxy.config.load import load_text
from revproxy.config.model import (
    Backend,
    Buffer,
    Config,
    HeaderChanges,
    Headers,
    Limits,
    Listen,
    Middleware,
    MinimumRate,
    Respond,
    Rewrite,
    Route,
    RouteLimits,
    Server,
    Upstream,
)
from revproxy.testing.memory import MemoryReactor
from tests.kit import toml


def compiled(config):
    if isinstance(config, str):
        config = load_text(config)
    return compile_config(config, MemoryReactor(lambda connector: None))


def route(server=None, **written):
    written = {"respond": Respond()} | written if "upstream" not in written else written
    config = Config(
        server=server or Server(),
        upstreams={"app": Upstream(backends=(Backend(endpoint="tcp:127.0.0.1:9000"),))},
        routes=(Route(**written),),
    )
    return compiled(config).routes[0]


def test_what_is_off_is_absent():
    plain = route(upstream="app")
    assert plain.client_request == plain.backend_request == plain.response_hooks == ()
    assert plain.max_body is None
    assert plain.mapping is None
    assert plain.buffer_response == 0


def test_hooks_stand_at_their_points():
    def hook(exchange):
        return None

    points = ("client-request", "backend-request", "backend-response", "client-response")
    one = route(
        middleware=tuple(Middleware(call=hook, at=at) for at in points),
        rewrite=Rewrite(strip_prefix="/api"),
        headers=Headers(request=HeaderChanges(set={"a": "b"}), response=HeaderChanges(set={"a": "b"})),
        buffer=Buffer(request=10, response=20),
    )
    compiled_points = (one.client_request, one.backend_request, one.backend_response, one.client_response)
    assert [len(hooks) for hooks in compiled_points] == [
        3, 2, 1, 2,
    ]  # fmt: skip
    assert one.response_hooks == one.backend_response + one.client_response
    assert one.buffer_response == 20
    assert one.mapping == (b"", b"/api")


def test_responses_pass_hooks_the_other_way_round():
    names: list[str] = []
    hooks = [lambda exchange, name=name: names.append(name) for name in "ab"]
    for at in ("backend-response", "client-response"):
        one = route(middleware=tuple(Middleware(call=hook, at=at) for hook in hooks))
        for hook in one.response_hooks:
            hook(None)
    for hook in route(middleware=tuple(Middleware(call=hook) for hook in hooks)).client_request:
        hook(None)
    assert names == ["b", "a", "b", "a", "a", "b"]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (None, 100),
        (RouteLimits(), 100),
        (RouteLimits(body=None), None),
        (RouteLimits(body=5), 5),
        (RouteLimits(body=0), 0),
    ],
)
def test_limits_of_a_route_take_the_place_of_the_servers(limits, expected):
    assert route(Server(limits=Limits(body=100)), limits=limits).max_body == expected


def test_minimum_rate_of_a_route():
    server = Server(minimum_rate=MinimumRate(rate=100.0, over=5.0))
    assert route(server).minimum_rate == (100.0, 5.0)
    assert route(server, minimum_rate=None).minimum_rate is None
    assert route(server, minimum_rate=MinimumRate(rate=1.0, over=2.0)).minimum_rate == (1.0, 2.0)
    assert route(Server(minimum_rate=None)).minimum_rate is None


def test_names_are_given_where_none_was_written():
    table = compiled(
        toml(route='respond = { body = "x" }', more='[[routes]]\nname = "b"\nmatch = { path = "/b" }\nupstream = "app"')
    )
    assert [one.name for one in table.routes] == ["route-1", "b"]


def test_routes_of_one_upstream_share_it():
    config = toml(more='[[routes]]\nmatch = { path = "/b" }\nupstream = "app"')
    table = compiled(config)
    first, second = (one.handler.upstream for one in table.routes)
    assert first is second is table.upstreams["app"]


def test_upstreams_that_live_are_kept():
    config = load_text(toml())
    reactor = MemoryReactor(lambda connector: None)
    before = compile_config(config, reactor)
    after = compile_config(config, reactor, before.upstreams)
    assert after.upstreams["app"] is before.upstreams["app"]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('respond = { body = "x" }\nmiddleware = ["no_such_module_at_all:hook"]', "no_such_module_at_all"),
        ('respond = { body = "x" }\nmiddleware = ["os.path:no_such_name"]', "no_such_name"),
        ('respond = { body = "x" }\nmiddleware = ["os:sep"]', "can't be called"),
        ('resource = "os:sep"', "resource"),
    ],
)
def test_what_cannot_be_found_or_used_is_said_with_its_route(written, text):
    config = load_text(toml(route=f'name = "mine"\n{written}'))
    with pytest.raises(ConfigError) as caught:
        compiled(config)
    assert text in str(caught.value)
    assert "mine" in str(caught.value)
    assert "routes[0]" in str(caught.value)


def test_all_errors_are_said_at_once():
    more = '[[routes]]\nmatch = { path = "/b" }\nresource = "no_such_b:x"'
    config = load_text(toml(route='resource = "no_such_a:x"', more=more))
    with pytest.raises(ConfigError) as caught:
        compiled(config)
    assert len(caught.value.errors) == 2


def test_the_classes_say_what_the_text_says():
    text = load_text('[[listen]]\nendpoint = "tcp:8080"\n[[routes]]\nname = "x"\nrespond = { body = "hi" }\n')
    code = Config(listen=(Listen(endpoint="tcp:8080"),), routes=(Route(name="x", respond=Respond(body="hi")),))
    assert text == code
