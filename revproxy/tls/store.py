"""The certificates that are in service, and which of them a client gets.

Rules of this module:

* ``pick`` looks things up and computes nothing: whoever is valid, new and exact comes first in an index that is
  made when something changes, or when a certificate begins or ends to be valid, and swapped as a whole;
* the folder is watched by ``stat``; what changed is read, and its contexts are made, in a thread;
* what is broken stays as it was: the last good certificate of a file is served until the file is good again,
  or gone. A file that is gone leaves service, and an unreadable folder changes nothing;
* whatever is wrong is told in one line, once, until it is right and goes wrong again.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from revproxy.config.errors import show
from revproxy.threads import in_thread
from revproxy.tls.certificate import Certificate, CertificateError
from revproxy.tls.folder import Files, fingerprint, scan
from revproxy.tls.hello import Hello

_log = Logger()

#: Seconds between two looks at the folder.
INTERVAL = 5.0
#: Seconds before its end at which a certificate is told about.
SOON = 7 * 86400.0

_KINDS = {"ecdsa": 0, "ed25519": 1, "rsa": 2}


class Served:
    """A certificate in service, with its context."""

    __slots__ = (
        "_contexts", "_default", "_files", "_lock", "_loop", "_now", "_problems", "_reactor", "_served", "_strict",
        "_told", "_trouble", "folder", "index",
    )  # fmt: skip

    def __init__(
        self,
        folder: str,
        contexts: Callable[[Certificate], ssl.SSLContext],
        *,
        default: str | None = None,
        strict: bool = False,
        reactor: Any,
        interval: float = INTERVAL,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self._contexts = contexts
        self._default = default
        self._strict = strict
        self._reactor = reactor
        self._now = now
        self.index = make_index((), default, strict, 0.0)
        self._problems: list[str] = []
        self._trouble: str | None = None
        self._files: Files | None = None
        self._served: dict[str, Served] = {}
        self._told: frozenset[str] = frozenset()
        self._lock = DeferredLock()
        self._loop = LoopingCall(self._turn)
        self._loop.clock = reactor
        self._loop.interval = interval

    def pick(self, hello: Hello) -> Served | None:
        """The certificate for a client, ``None`` when there is none and it has to be refused.

        Of several for its name, the first that it can check; where it can check none, it finds out itself.
        """
        index = self.index
        name = hello.server_name
        if name is None:
            found = index.default
        else:
            found = index.exact.get(name) or index.wildcard.get(name.partition(".")[2]) or index.default
        if len(found) > 1:
            for served in found:
                if served.certificate.suits(hello):
                    return served
        return found[0] if found else None

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Those in service, in the order of their files."""
        return tuple(served.certificate for served in self._served.values())

    def start(self, *, may_be_empty: bool = False) -> None:
        """Read the folder and begin to watch it. Blocks.

        :raises CertificateError: when nothing can be served, unless that may come later.
        """
        try:
            found = self._look(self._files, self._served)
        except CertificateError:
            if not may_be_empty:
                raise
            found = None
        if found is not None:
            files, served, problems = found
            if not served and not may_be_empty:
                why = f": {problems[0]}" if problems else ""
                raise CertificateError(f"the folder {show(self.folder)} has no certificate to serve{why}", self.folder)
            self._take(files, served, problems)
        self._loop.start(self._loop.interval or INTERVAL, now=False)

    def stop(self) -> None:
        """Stop watching."""
        if self._loop.running:
            self._loop.stop()

    async def rescan(self) -> None:
        """Look at the folder now; what changed in it is in service when this returns."""
        await self._lock.acquire()
        try:
            found = await in_thread(self._reactor, self._look, self._files, self._served)
            self._trouble = None
            if found is not None:
                self._take(*found)
            elif self._now() >= self.index.until:
                self._make_index()
        except CertificateError as problem:
            if self._trouble != str(problem):
                self._trouble = str(problem)
                _log.warn("{problem}; what was in service stays", problem=problem)
        finally:
            self._lock.release()

    def _turn(self) -> Deferred[None]:
        return ensureDeferred(self.rescan()).addErrback(
            lambda failure: _log.failure("the certificates can't be looked at", failure)
        )

    def _look(
        self, files: Files | None, before: dict[str, Served]
    ) -> tuple[Files, dict[str, Served], list[CertificateError]] | None:
        """What is in the folder, ``None`` when that is what was. In a thread: it changes nothing."""
        now = fingerprint(self.folder)
        if now == files:
            return None
        certificates, problems = scan(self.folder, [served.certificate for served in before.values()])
        served: dict[str, Served] = {}
        for certificate in certificates:
            source = certificate.source
            old = before.get(source)
            if old is not None and old.certificate.stamps == certificate.stamps:
                served[source] = old
                continue
            try:
                context = self._contexts(certificate)
                if not certificate.unchanged():  # the next look sees how it ends
                    raise CertificateError(f"{show(source)} is changing", source)
                served[source] = Served(certificate, context)
            except CertificateError as error:
                problems.append(CertificateError(str(error), source))
        for problem in problems:
            if problem.source in before:
                served[problem.source] = before[problem.source]
        # A folder in it that can't be read keeps what it had.
        lost = tuple(os.path.join(problem.source, "") for problem in problems)
        for source, old in before.items():
            if source not in served and source.startswith(lost):
                served[source] = old
        return now, dict(sorted(served.items())), problems

    def _take(self, files: Files, served: dict[str, Served], problems: list[CertificateError]) -> None:
        before = self._served
        self._files = files
        self._served = served
        for source, one in served.items():
            old = before.get(source)
            if old is not one:
                verb = "is served" if old is None else "is served in its new form"
                _log.info("certificate {source} {verb}: {what}", source=source, verb=verb, what=_what(one.certificate))
        for source in before.keys() - served.keys():
            _log.info("certificate {source} is gone and no longer served", source=source)
        self._problems = [_problem(problem, served) for problem in problems]
        self._make_index()

    def _make_index(self) -> None:
        now = self._now()
        self.index = make_index(self._served.values(), self._default, self._strict, now)
        texts = [*self._problems, *self._remarks(now)]
        for text in texts:
            if text not in self._told:
                _log.warn("{text}", text=text)
        self._told = frozenset(texts)

    def _remarks(self, now: float) -> list[str]:
        """What is good enough to be served, and not quite right."""
        said = []
        seen: dict[str, str] = {}
        alike: dict[tuple[str, tuple[str, ...]], Certificate] = {}
        for served in self._served.values():
            certificate = served.certificate
            source = show(certificate.source)
            if certificate.fingerprint in seen:
                said.append(f"{source} is the same certificate as {seen[certificate.fingerprint]}")
                continue
            seen[certificate.fingerprint] = source
            if now > certificate.not_after:
                said.append(f"{source} expired at {_date(certificate.not_after)}")
            elif now < certificate.not_before:
                said.append(f"{source} is not valid before {_date(certificate.not_before)}")
            elif now >= certificate.not_after - SOON:
                said.append(f"{source} expires at {_date(certificate.not_after)}")
            if not certificate.names:
                said.append(f"{source} names no host (it has no subjectAltName) and is served only as the default")
                continue
            key = (certificate.kind, tuple(sorted(certificate.names)))
            other = alike.setdefault(key, certificate)
            if other is not certificate:
                alike[key] = max(other, certificate, key=lambda one: (one.valid_at(now), one.not_before))
                both = f"{show(other.source)} and {source} are for the same names"
                said.append(f"{both}; {show(alike[key].source)} is served")
        default = self._default
        if default is not None and not any(one.certificate.covers(default) for one in self._served.values()):
            said.append(f"no certificate is for the default name, {show(default)}")
        if not self._served:
            said.append(f"the folder {show(self.folder)} has no certificate to serve")
        return said


def _problem(problem: CertificateError, served: dict[str, Served]) -> str:
    return f"{problem}; what it held before stays in service" if problem.source in served else str(problem)


def _what(certificate: Certificate) -> str:
    names = certificate.names[:5]
    more = len(certificate.names) - len(names)
    text = ", ".join(names) + (f" and {more} more" if more else "")
    return f"{certificate.kind} for {text or 'no name'}, to {_date(certificate.not_after)}"


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))
