"""The user's own hooks: ``module:name``, plain, returning a Deferred, or async.

Rules of this module:

* a hook gets the exchange and returns ``None`` (go on), an :class:`~revproxy.http.message.Answer`
  (answer now) or something to wait for that gives one of the two;
* how long it may take and what happens when it fails is said in the configuration, never guessed.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.logger import Logger
from twisted.python.failure import Failure

from revproxy.config.model import Middleware
from revproxy.fault import HOOK_FAILED, HOOK_TIMEOUT, ProtocolError
from revproxy.http.message import Answer
from revproxy.stream import DONE

if TYPE_CHECKING:
    from revproxy.exchange import Exchange

_log = Logger()


def load_object(reference: str, base: str = ".") -> Any:
    """What ``module:name`` (or ``module:name.attribute``) refers to.

    :param base: a folder where modules are looked for after Python's own places.
    :raises ValueError: when there is no such module or name, or the module can't be imported.
    """
    module_name, _, path = reference.partition(":")
    folder = os.path.abspath(base)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as e:
        raise ValueError(f"{reference!r}: no module {e.name!r} in {folder!r} or on PYTHONPATH") from e
    except Exception as e:
        raise ValueError(f"{reference!r}: importing it raised {type(e).__name__}: {e}") from e
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ValueError(f"{reference!r}: the module has no {path!r}") from None
    return found


def policy(written: Middleware, reactor: Any, base: str = ".") -> Callable[[Exchange], Any]:
    """A hook for the written point. :raises ValueError: when it can't be found or called."""
    call: Any = load_object(written.call, base) if isinstance(written.call, str) else written.call
    if not callable(call):
        raise ValueError(f"{written.call!r} can't be called")
    name = written.call if isinstance(written.call, str) else getattr(call, "__qualname__", repr(call))
    is_open = written.fail == "open"

    def refused(exchange: Exchange, why: str, failure: Failure | None = None) -> None:
        _log.error(
            "{hook} failed on {id}: {why}; the request is {verdict}",
            hook=name, id=exchange.request_id.decode("ascii", "replace"), why=why,
            verdict="let through" if is_open else "refused",
            **({} if failure is None else {"log_failure": failure}),
        )  # fmt: skip

    def checked(result: Any) -> Answer | None:
        if result is None or isinstance(result, Answer):
            return result
        raise TypeError(f"a hook gives None or an Answer, not {type(result).__name__}")

    def hook(exchange: Exchange) -> Any:
        try:
            result = call(exchange)
            if not isinstance(result, Deferred) and not inspect.isawaitable(result):
                return checked(result)
        except ProtocolError:
            raise
        except Exception as e:
            refused(exchange, f"{type(e).__name__}: {e}", Failure())
            if is_open:
                return None
            raise ProtocolError(HOOK_FAILED, f"{name}: {type(e).__name__}") from e
        awaitable: Any = result
        waiting: Deferred[Any] = result if isinstance(result, Deferred) else ensureDeferred(awaitable)
        return _bounded(exchange, waiting)

    def _bounded(exchange: Exchange, waiting: Deferred[Any]) -> Deferred[Any]:
        late = False

        def expire() -> None:
            nonlocal late
            late = True
            waiting.cancel()

        timer = None if written.timeout is None else reactor.callLater(written.timeout, expire)

        def done(result: Any) -> Any:
            if timer is not None:
                try:
                    timer.cancel()
                except (AlreadyCalled, AlreadyCancelled):
                    pass
            return result

        def failed(failure: Any) -> None:
            if exchange.state == DONE:
                return  # the client left: nobody waits for a verdict
            if failure.check(ProtocolError) and not late:
                failure.raiseException()
            if late:
                refused(exchange, f"no result within {written.timeout:g} s")
            else:
                refused(exchange, f"{failure.type.__name__}: {failure.getErrorMessage()}", failure)
            if not is_open:
                raise ProtocolError(HOOK_TIMEOUT if late else HOOK_FAILED, name)

        waiting.addBoth(done).addCallback(checked).addErrback(failed)
        return waiting

    return hook
