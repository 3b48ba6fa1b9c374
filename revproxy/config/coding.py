"""What the operator wrote about compression; the rules are those of :mod:`revproxy.config.model`."""

from __future__ import annotations

from attrs import frozen

from revproxy.config.words import BrotliLevel, GzipLevel, SizeOrZero, TypePattern, ZstdLevel

#: Types of bodies that get smaller: text, and what is text by another name, and the few binary formats
#: that nobody has compressed yet.
TYPES = (
    "text/*",
    "*+json",
    "*+xml",
    "*+text",
    "application/javascript",
    "application/json",
    "application/graphql",
    "application/ndjson",
    "application/rtf",
    "application/toml",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/x-yaml",
    "application/xml",
    "application/yaml",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
    "image/x-icon",
)


@frozen(kw_only=True)
class Compress:
    """Compresses responses on their way to clients that accept it.

    ``gzip``, ``br`` and ``zstd`` are levels: only those named are used. With none named, all that are installed are,
    at levels that cost little. ``types`` take the place of :data:`TYPES`: ``text/html``, ``text/*`` or ``*+json``.
    Bodies known to be shorter than ``minimum`` bytes are left alone. A route that answers with secrets and
    with what a client said (a token in a form, a search) is better without: who can watch the sizes of many
    responses finds out the secret (BREACH).
    """

    gzip: GzipLevel | None = None
    br: BrotliLevel | None = None
    zstd: ZstdLevel | None = None
    types: tuple[TypePattern, ...] = TYPES
    minimum: SizeOrZero = 1024

    @property
    def levels(self) -> dict[str, int]:
        """The codings that are named, and their levels."""
        written = {"gzip": self.gzip, "br": self.br, "zstd": self.zstd}
        return {name: level for name, level in written.items() if level is not None}
