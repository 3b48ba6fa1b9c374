"""Cases of conformance that any HTTP/2 server can be asked: numbered as those of the program h2spec 2.6, so that
results can be laid side by side.

Run against any server::

    python -m tests.integration.h2_cases --port 8443 --tls [--path /] [--host 127.0.0.1] [--only http2/6] [--verbose]

Rules of this package:

* a case is a number (group / section / which one; ``generic`` and ``http2`` cite RFC 7540, ``hpack`` RFC 7541), a
  description, what the client writes after both sides' settings were acknowledged, and a verdict on what comes back;
* a verdict accepts what h2spec accepts, no less and no more (see :mod:`tests.integration.h2_cases.verdicts`). Where
  RFC 9113, which replaced RFC 7540, asks for more, there are cases under ``rfc9113``, which h2spec has not;
* everything a case writes leaves in one piece, where h2spec writes frame by frame: a server has then read all of it
  when it answers, so that no verdict depends on who was faster;
* silence is never what a case waits for: where a frame has to be ignored, the PING after it has to be answered.
"""

from __future__ import annotations

from tests.integration.h2_cases import exchanges, frames, generic, hpack, rfc9113, streams
from tests.integration.h2_cases.verdicts import Case, Disagrees, Unfit
from tests.integration.h2peer import Gone, Peer, Server, Silent

__all__ = ["ALL", "H2SPEC", "Case", "Disagrees", "Unfit", "ask"]

#: Those of h2spec, in its order: 146, and one that it asks in its strict mode only.
H2SPEC: tuple[Case, ...] = (*generic.CASES, *streams.CASES, *frames.CASES, *exchanges.CASES, *hpack.CASES)
#: All of them.
ALL: tuple[Case, ...] = (*H2SPEC, *rfc9113.CASES)


def ask(case: Case, server: Server, patience: float = 2.0) -> None:
    """Put a case to a server, on a connection of its own. ``patience`` is in seconds, for each frame.

    :raises Disagrees: when the server does otherwise. :raises Unfit: when it can't be asked this.
    """
    with Peer(server, patience) as peer:
        try:
            if case.opened:
                peer.open()
            if case.fitting is not None:
                case.fitting(peer)
            case.run(peer)
        except Gone:
            raise Disagrees("an answer", peer, "the connection closed") from None
        except Silent:
            raise Disagrees("an answer", peer, "silence") from None
        except ConnectionError as error:
            raise Disagrees("an answer", peer, str(error)) from None
