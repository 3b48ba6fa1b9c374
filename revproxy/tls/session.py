"""TLS on one connection, without I/O: records in, plain bytes out, and back.

Rules of this module:

* the standard library's ``ssl`` over memory buffers: a request and a response of 1 KiB take 10 us in it,
  where pyOpenSSL takes 27 (CPython 3.11, OpenSSL 3.0);
* whatever OpenSSL wants to send by itself (handshake, tickets, key updates, alerts) waits in
  ``outgoing`` until the owner of the connection takes it with :meth:`Session.pending`.
"""

from __future__ import annotations

import ssl
from typing import Any

#: Plain bytes of the longest record (RFC 8446 5.1).
RECORD = 16 * 1024


class Session:
    """One side of a TLS connection.

    :param connection: an ``ssl.SSLObject`` over the two buffers.
    :ivar outgoing: what has to be sent. :ivar ended: the peer said that it sends nothing more.
    """

    __slots__ = ("_feed", "_read", "_take", "_write", "connection", "ended", "incoming", "outgoing")

    def __init__(self, connection: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self.connection = connection
        self.incoming = incoming
        self.outgoing = outgoing
        self.ended = False
        # the methods of OpenSSL's side, once: what Python's wrappers add is 1 us for a request
        self._read = connection.read
        self._write: Any = connection.write
        self._feed = incoming.write
        self._take = outgoing.read

    def shake(self, data: bytes) -> bool:
        """Bytes of the handshake came: whether it is done. :raises ssl.SSLError: when it failed."""
        self._feed(data)
        try:
            self.connection.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def open(self, data: bytes) -> bytes:
        """The plain bytes of what came, ``b""`` as long as a record is not complete.

        :raises ssl.SSLError: for what is no TLS, and for the peer's fatal alerts. What was whole before is lost.
        """
        if data:
            self._feed(data)
        read = self._read
        try:
            plain = read(RECORD)
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLZeroReturnError:  # what b"" says where we have not ended our side yet
            self.ended = True
            return b""
        if not plain:
            self.ended = True
        elif self.incoming.pending:
            pieces = [plain]
            try:
                while plain := read(RECORD):
                    pieces.append(plain)
                self.ended = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                self.ended = True
            return b"".join(pieces)
        return plain

    def seal(self, data: bytes) -> bytes:
        """Records for plain bytes. :raises ssl.SSLError: when the connection was ended."""
        size = len(data)
        write = self._write
        done = write(data) if size else 0  # OpenSSL has no record for nothing
        if done < size:  # a record at a time
            view = memoryview(data)
            while done < size:
                done += write(view[done:])
        return self._take()

    def pending(self) -> bytes:
        """What has to be sent besides."""
        return self._take()

    def close(self) -> bytes:
        """The record that says that nothing more will be sent; ``b""`` when it was said."""
        try:
            self.connection.unwrap()
        except (ssl.SSLError, ValueError, OSError):
            pass  # the peer has not said the same yet, and need not
        return self._take()
