"""The certificates that are in service: those of a folder, which is watched.

Rules of this module:

* what changed in the folder is read, and its contexts are made, in a thread;
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

from twisted.logger import Logger

from revproxy.config.errors import show
from revproxy.tls.certificate import Certificate, CertificateError
from revproxy.tls.folder import Files, fingerprint, scan
from revproxy.tls.hello import Hello
from revproxy.tls.index import Index, Served, date, make_index, remarks
from revproxy.watched import Watch

_log = Logger()

#: Seconds between two looks at the folder.
INTERVAL = 5.0

_Found = tuple[dict[str, Served], list[CertificateError]]


class CertificateStore:
    """The certificates of one folder.

    :param contexts: makes the context of a certificate; called in a thread. It raises :exc:`CertificateError`.
    :param default: whose certificate unknown and absent names get; the first valid one's where it is ``None``.
    :param strict: whether these get none. :param now: gives Unix time. :ivar index: what ``pick`` looks into.
    """

    __slots__ = (
        "_contexts", "_default", "_now", "_problems", "_served", "_strict", "_told", "_watch", "folder", "index",
    )  # fmt: skip

    def __init__(
        self,
        folder: str,
        contexts: Callable[[Certificate], ssl.SSLContext],
        *,
        default: str | None = None,
        strict: bool = False,
        reactor: Any,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self._contexts = contexts
        self._default = default
        self._strict = strict
        self._now = now
        self.index: Index = make_index((), default, strict, 0.0)
        self._served: dict[str, Served] = {}
        self._problems: list[str] = []
        self._told: frozenset[str] = frozenset()
        self._watch = Watch(
            folder, self._read, reactor, self._take, self._kept, mark=_mark, every=INTERVAL, same=self._age
        )

    def pick(self, hello: Hello) -> Served | None:
        """The certificate for a client, ``None`` when there is none and it has to be refused."""
        return self.index.pick(hello)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """Those in service, in the order of their files."""
        return tuple(served.certificate for served in self._served.values())

    def start(self, *, may_be_empty: bool = False) -> None:
        """Read the folder and begin to watch it. Blocks.

        :raises CertificateError: when nothing can be served, unless that may come later.
        """
        try:
            found = self._watch.load()
        except ValueError as error:
            if not may_be_empty:
                raise CertificateError(str(error), self.folder) from None
        else:
            served, problems = found
            if not served and not may_be_empty:
                why = f": {problems[0]}" if problems else ""
                raise CertificateError(f"the folder {show(self.folder)} has no certificate to serve{why}", self.folder)
            self._take(found)
        self._watch.start()

    def stop(self) -> None:
        """Stop watching."""
        self._watch.close()

    async def rescan(self) -> None:
        """Look at the folder now; what changed in it is in service when this returns."""
        await self._watch.look_now()

    def _read(self, folder: str) -> _Found:
        """What is in the folder. In a thread: it changes nothing. :raises ValueError: when it can't be read."""
        before = self._served
        try:
            certificates, problems = scan(folder, [served.certificate for served in before.values()])
        except CertificateError as error:
            raise ValueError(str(error)) from None
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
                    raise CertificateError(f"{show(source)} is changing")
                served[source] = Served(certificate, context)
            except CertificateError as error:
                problems.append(CertificateError(str(error), source))
        for problem in problems:
            if problem.source in before:
                served[problem.source] = before[problem.source]
        # a folder in it that can't be read keeps what it had
        lost = tuple(os.path.join(problem.source, "") for problem in problems)
        for source, one in before.items():
            if source not in served and source.startswith(lost):
                served[source] = one
        return dict(sorted(served.items())), problems

    def _kept(self, wrong: str) -> None:
        _log.warn("{wrong}; what was in service stays so", wrong=wrong)

    def _age(self) -> None:
        if self._now() >= self.index.until:
            self._reorder()

    def _take(self, found: _Found) -> None:
        served, problems = found
        before = self._served
        self._served = served
        for source, one in served.items():
            if source not in before:
                _log.info("certificate {source} is served: {what}", source=source, what=_what(one.certificate))
            elif before[source] is not one:
                _log.info("certificate {source} is replaced: {what}", source=source, what=_what(one.certificate))
        for source in before.keys() - served.keys():
            _log.info("certificate {source} is gone and no longer served", source=source)
        self._problems = [
            f"{problem}; what it held before stays in service" if problem.source in served else str(problem)
            for problem in problems
        ]
        self._reorder()

    def _reorder(self) -> None:
        """A new index, and a word about what is not right."""
        now = self._now()
        self.index = make_index(self._served.values(), self._default, self._strict, now)
        texts = [*self._problems, *remarks(self.certificates, self._default, now)]
        for text in texts:
            if text not in self._told:
                _log.warn("{text}", text=text)
        self._told = frozenset(texts)


def _mark(folder: str) -> Files:
    try:
        return fingerprint(folder)
    except CertificateError:
        return {}


def _what(certificate: Certificate) -> str:
    names = certificate.names[:5]
    more = len(certificate.names) - len(names)
    text = ", ".join(names) + (f" and {more} more" if more else "")
    return f"{certificate.kind} for {text or 'no name'}, to {date(certificate.not_after)}"
