"""The second half of an exchange: its response, from the sink through hooks and filter to the client.

Rules of this module:

* :class:`~revproxy.exchange.Exchange` is this and the request's half; they share its attributes, and the steps
  (7 and 8) are those of its module;
* a head leaves with what is there of its body, in one call to the client;
* an exchange is finished before its last bytes are handed over: they may begin the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from revproxy.errorpages import reason
from revproxy.fault import HANDLER_FAILED, HOOK_FAILED, Fault
from revproxy.hooks import run_hooks
from revproxy.http.message import Answer, Request, Response
from revproxy.stream import ASKED, ASKING, DONE, HEAD, NO, RESPONSE_END, SWITCH, TABLE, Filter

if TYPE_CHECKING:
    from revproxy.engine import Engine
    from revproxy.routing import Route


class Delivery:
    """What happens to a response. The attributes are those of :class:`~revproxy.exchange.Exchange`."""

    __slots__ = (
        "client", "delivering", "early_body", "early_end", "engine", "fault", "filter", "first_byte_time", "held",
        "request", "response", "route", "sent", "sink", "started", "state",
    )  # fmt: skip

    client: Any
    delivering: int
    early_body: bytes
    early_end: Sequence[Any] | None
    engine: Engine
    fault: Fault | None
    filter: Filter | None
    first_byte_time: float | None
    held: list[bytes] | None
    request: Request
    response: Response | None
    route: Route | None
    sent: int
    sink: Any
    started: float
    state: int

    def finish(self) -> None:
        """It is over."""

    def response_head(self, response: Response, first: bytes = b"", ended: bool = False) -> None:
        """A head from the sink, with what is there of its body; 1xx heads may come before."""
        if response.status < 200:
            self.client.write_head(response)
            return
        self.response = response
        engine = self.engine
        if engine.log is not None:
            self.first_byte_time = engine.seconds() - self.started
        route = self.route
        if route is not None and route.response_hooks:
            made = None
            if route.at_once is not None:
                if ended:
                    made = route.at_once(self, response, first)
                if made is None and response.block is not None:
                    self.response = response.copy()
            if made is None:
                self._hooked(route.backend_response, first, ended)
                return
            response = self.response
            first = made
        elif not ended:
            self.pass_head(first, False)
            return
        self.sent = len(first)
        self.state = DONE
        self.finish()
        self.client.write_head(response, first, True)  # 8

    def _hooked(self, hooks: tuple[Any, ...], first: bytes, ended: bool) -> None:
        whole: Any = self  # an Exchange: this is half of one
        run_hooks(whole, hooks, 0, lambda: self._deliver(first, ended))

    def _deliver(self, first: bytes, ended: bool) -> None:
        route = self.route
        passes = self.delivering
        if passes:
            # an answer of one of these hooks, or the page for its failure, is for the last of them only
            hooks = route.told if route is not None and passes == 1 else ()
        else:
            hooks = getattr(self.engine.table, "told", ()) if route is None else route.client_response
        if hooks:
            self.delivering = passes + 1
            whole: Any = self
            run_hooks(whole, hooks, 0, lambda: self._send_head(first, ended))
        else:
            self._send_head(first, ended)

    def _send_head(self, first: bytes, ended: bool) -> None:
        if self.early_body:
            first += self.early_body
            self.early_body = b""
        if self.filter is not None:
            self.filter.begin(first, ended)
        else:
            self.pass_head(first, ended)

    def pass_head(self, first: bytes, ended: bool) -> None:
        """8: the head goes out, with what is there of the body. A filter says when."""
        self.sent = len(first)
        if ended:
            # over before the client's side goes on to its next request: their lines are in order
            self.state = DONE
            self.finish()
        else:
            state = self.state = TABLE[self.state][HEAD]
            assert state != NO, "two response heads"
        self.client.write_head(self.response, first, ended)  # 8
        if self.early_end is not None and not ended:
            self.response_end(self.early_end)

    def serve(self, response: Response, first: bytes, ended: bool) -> None:
        """A response that went through the backend's side before: from a store, or from a :meth:`child`."""
        self.response = response
        engine = self.engine
        if engine.log is not None:
            self.first_byte_time = engine.seconds() - self.started
        route = self.route
        if route is not None and route.client_response:
            self._deliver(first, ended)
        elif ended:
            self.sent = len(first)
            self.state = DONE
            self.finish()
            self.client.write_head(response, first, True)  # 8
        else:
            self._send_head(first, False)

    def response_body(self, data: bytes) -> None:
        """Body bytes from the sink."""
        if self.state <= ASKED:  # the head still waits for a hook; a transport may hand on more than it was asked for
            self.early_body += data
            return
        if self.filter is not None:
            self.filter.feed(data)
            return
        self.sent += len(data)
        self.client.write_body(data)

    def pass_body(self, data: bytes) -> None:
        """What a filter made of body bytes."""
        self.sent += len(data)
        self.client.write_body(data)

    def response_end(self, trailers: Sequence[Any] = ()) -> None:
        """The sink's body is complete."""
        if self.state == DONE:
            return
        if self.state in (ASKING, ASKED) and self.response is not None:
            self.early_end = trailers  # the head still waits for a hook
            return
        if self.filter is not None:
            self.filter.end(trailers)
            return
        state = self.state = TABLE[self.state][RESPONSE_END]
        assert state != NO, "the end of a response before its head"
        if state == DONE:
            self.finish()
        self.client.end(trailers)

    def switch(self, response: Response, first: bytes) -> None:
        """101: from here on the verbs carry bytes both ways (RFC 9110 7.8), after the hooks for what clients get."""
        assert TABLE[self.state][SWITCH] != NO, "101 before the end of the request"
        self.response = response
        self.first_byte_time = self.engine.seconds() - self.started
        route = self.route
        if route is not None and route.client_response:
            self.delivering = 1
            whole: Any = self
            run_hooks(whole, route.client_response, 0, lambda: self._switched(first))
        else:
            self._switched(first)

    def _switched(self, first: bytes) -> None:
        response = self.response
        assert response is not None
        if response.status != 101:
            whole: Any = self
            whole.fail(HOOK_FAILED, f"a hook made {response.status} of a 101")
            return
        first += self.early_body
        self.early_body = b""
        self.state = TABLE[self.state][SWITCH]
        self.sent = len(first)
        self.client.write_head(response, first)
        if self.early_end is not None:  # the backend was done before a hook
            self.response_end(self.early_end)

    def answer(self, answer: Answer) -> None:
        """Answer with a response of ours; whatever the sink still had is dropped."""
        sink, self.sink = self.sink, None
        if sink is not None:
            sink.abort(HANDLER_FAILED if self.fault is None else self.fault)
        self.held = None
        self._drop_filter()
        headers = answer.headers.copy()
        status = answer.status
        if b"content-length" not in headers and status >= 200 and status not in (204, 304):
            headers.add(b"Content-Length", b"%d" % len(answer.body))
        # RFC 9110 8.6: none in a 204, and a 304 says nothing of its own
        length = None if status in (204, 304) else len(answer.body)
        self.response = Response(status, headers, reason=reason(status), length=length)
        body = b"" if self.request.method == b"HEAD" or status in (204, 304) else answer.body
        self._deliver(body, True)

    def _drop_filter(self) -> None:
        if self.filter is not None:
            self.filter.drop()
            self.filter = None
