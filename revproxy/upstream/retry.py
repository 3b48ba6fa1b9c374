"""Whether a failed try goes to a backend again: a decision, pure (RFC 9110 9.2.2).

Rules of this module:

* nothing was sent: any method may be tried again;
* something was sent and no byte of a response came, on a connection that had been used before:
  the backend most likely closed it just then. Idempotent requests whose body can be repeated go
  out again, on a fresh connection;
* the same on a fresh connection: only safe requests go out again, and to another backend;
* everything else would risk doing a thing twice.
"""

from __future__ import annotations

from revproxy.fault import Fault

#: RFC 9110 9.2.2, with 9.2.1's safe ones.
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
#: What may be asked twice even of a backend that broke off: RFC 9110 9.2.1, but for TRACE.
SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
#: Bytes of a request's body that are kept to be sent again.
REPLAY = 64 * 1024


def may_retry(
    fault: Fault,
    *,
    method: bytes,
    reused: bool,
    replayable: bool,
    tries: int,
    most: int,
    elsewhere: bool = False,
    trace: list[str] | None = None,
) -> bool:
    """Whether to try again after ``fault``.

    :param reused: the connection had carried another exchange before.
    :param replayable: all that was sent of the body is still there.
    :param elsewhere: there is another backend to ask.
    :param tries: tries so far, this one included. :param most: tries in all.
    """
    if tries >= most:
        verdict, why = False, f"{tries} tries were made"
    elif fault.retry == "unsent":
        verdict, why = True, "nothing was sent"
    elif fault.retry != "idempotent":
        verdict, why = False, f"{fault.word} is never tried again"
    elif not reused and not (elsewhere and method in SAFE):
        verdict, why = False, "the connection was fresh"
    elif method not in IDEMPOTENT:
        verdict, why = False, f"{method.decode('ascii', 'replace')} is not idempotent"
    elif not replayable:
        verdict, why = False, "its body can't be repeated"
    elif reused:
        verdict, why = True, "idempotent, on a connection the backend had kept open"
    else:
        verdict, why = True, "safe, and there is another backend"
    if trace is not None:
        trace.append(why)
    return verdict
