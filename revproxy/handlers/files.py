"""The handler that ends a route at a folder: ``twisted.web.static.File`` without its surprises.

Rules of this module:

* there are no listings, no dotfiles, and nothing outside of the folder, whatever links say;
* only regular files are opened: a FIFO would hold up everything;
* what can't be seen is 404, so that nothing says whether it is there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.web.resource import Resource
from twisted.web.static import File
from twisted.web.util import redirectTo

from revproxy.errorpages import error_page
from revproxy.handlers.errorpage import ErrorPage
from revproxy.handlers.resource import ResourceHandler
from revproxy.http.message import Answer, Headers

if TYPE_CHECKING:
    from revproxy.exchange import Exchange

#: Ranges of one request; more are answered with the whole file (RFC 9110 14.2).
_RANGES = 8


class PlainFile(File):
    """A ``File`` that shows regular files below one folder, and no listings.

    :param root: the folder's real path; nothing outside of it is shown.
    """

    indexNames = ["index.html"]  # noqa: RUF012  # the name and the type are File's
    childNotFound: Any = ErrorPage(404)
    forbidden: Any = ErrorPage(404)

    def __init__(self, path: str, *args: Any, root: str | None = None, **more: Any) -> None:
        super().__init__(path, *args, **more)
        self._root = os.path.realpath(path) if root is None else root

    def createSimilarFile(self, path: str) -> PlainFile:
        similar = PlainFile(path, self.defaultType, self.ignoredExts, self.registry, root=self._root)
        similar.contentTypes = self.contentTypes
        similar.contentEncodings = self.contentEncodings
        return similar

    def directoryListing(self) -> Resource:
        return ErrorPage(404)

    def redirect(self, request: Any) -> bytes:
        # relative, so that it is right whatever the public name is
        last = request.path.rpartition(b"/")[2]
        query = request.uri.partition(b"?")
        return redirectTo(b"./" + last + b"/" + query[1] + query[2], request)

    def render_GET(self, request: Any) -> Any:
        real = os.path.realpath(self.path)
        if real != self._root and not real.startswith(self._root.rstrip(os.sep) + os.sep):
            return self.childNotFound.render(request)
        self.restat(reraise=False)
        if not self.isfile() and not self.isdir():
            return self.childNotFound.render(request)
        return super().render_GET(request)

    render_HEAD = render_GET


class StaticFiles:
    """Serves the files below a folder to GET and HEAD.

    :param path: the folder; ``index.html`` stands for a folder's own address.
    """

    def __init__(self, path: str) -> None:
        self._inner = ResourceHandler(PlainFile(path), limit=64 * 1024)

    def start(self, exchange: Exchange) -> None:
        """4: refuse what is no plain look at a file, then let ``File`` answer."""
        request = exchange.request
        if request.method not in (b"GET", b"HEAD"):
            kind, body = error_page(405, request.headers.get(b"accept"), exchange.request_id)
            exchange.answer(Answer(405, Headers.of([(b"Content-Type", kind), (b"Allow", b"GET, HEAD")]), body))
            return
        for segment in unquote_to_bytes(request.path).replace(b"\\", b"/").split(b"/"):
            if segment.startswith(b".") or b"\0" in segment:
                kind, body = error_page(404, request.headers.get(b"accept"), exchange.request_id)
                exchange.answer(Answer(404, Headers.of([(b"Content-Type", kind)]), body))
                return
        asked, mark, query = request.raw_target.partition(b"?")
        if request.path == b"/" and asked[:1] == b"/" and not asked.endswith(b"/"):
            # the folder itself, by a name that lost its end to strip_prefix: links in its pages would lead elsewhere
            location = b"./" + asked.rpartition(b"/")[2] + b"/" + mark + query
            exchange.answer(Answer(302, Headers.of([(b"Location", location)])))
            return
        if len(request.headers.get_list(b"range")) > _RANGES:
            request.headers = request.headers.copy()
            request.headers.remove(b"range")
        self._inner.start(exchange)
