"""Certificates from ACME authorities (RFC 8555): ordered, proved, renewed.

``messages``, ``schedule`` and ``certificates`` decide, ``jose`` signs, ``web`` and ``client`` ask the
authority, ``order`` is the flow, ``storage`` and ``lock`` are the files, ``manager`` is the loop around it all.
"""

from __future__ import annotations

from revproxy.tls.acme.manager import AcmeManager

__all__ = ["AcmeManager"]
