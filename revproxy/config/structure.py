"""Plain tables -> the model's classes, driven by the classes' own fields and types.

Rules of this module:

* nothing here names a key: what may be written is what :mod:`revproxy.config.model` declares;
* everything that is wrong is collected, and a stand-in takes its place, so that one run finds all;
* a list may be written as its only member, a table as the one value that :data:`SHORT` names, and
  the tables in :data:`SWITCHES` as ``true`` or ``false``.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen

from revproxy.config import model
from revproxy.config.errors import Key, Wrong, either, nearest, show, wrong
from revproxy.config.values import parse
from revproxy.config.words import Protocol

#: What a table's place may hold instead: the field that a plain value stands for, and its type.
SHORT: dict[type, tuple[str, type, str]] = {
    model.Backend: ("endpoint", str, 'write an endpoint such as "tcp:127.0.0.1:9000", or a table'),
    model.Middleware: ("call", str, 'write "module:name", or a table'),
    model.HealthCheck: ("path", str, 'write a path such as "/healthz", or a table'),
    model.Dns: ("name", str, 'write "host:port", or a table'),
    model.Srv: ("name", str, 'write a name such as "_http._tcp.example.com", or a table'),
    model.Sticky: ("cookie", str, "write the cookie's name, or a table"),
    model.Redirect: ("to", str, "write a URL, or a table"),
    model.Respond: ("status", int, "write a status such as 404, or a table"),
    model.ListenTls: ("certificates", str, "write the folder of the certificates, or a table"),
    model.ClientCertificates: ("ca", str, "write the authorities' PEM file, or a table"),
    model.CertificateAuth: ("names", str, 'write "*" for any, or whose it has to be, or a table'),
    model.RateLimit: ("rate", str, 'write a rate such as "100/s", or a table'),
    model.Cors: ("origins", str, 'write an origin such as "https://app.example.com", or a table'),
    model.SecurityHeaders: ("preset", str, 'write true, "strict" or a table'),
    model.Hsts: ("max_age", str, 'write a time such as "365d", or a table'),
}

#: Tables that a switch may stand for, where none is needed: ``true`` is the table with its defaults.
SWITCHES: frozenset[type] = frozenset(
    {
        model.Bans,
        model.Cache,
        model.Compress,
        model.Cookies,
        model.Filter,
        model.SecurityHeaders,
        model.Shed,
    }
)


@frozen
class Found:
    """A problem before it has a line."""

    key: Key
    text: str
    found: str = ""
    expected: str = ""
    suggestion: str | None = None
    #: Whether it is a key that nobody knows: then what it was meant to be is missing, too.
    unknown_key: bool = False


class Structurer:
    """Collects what is wrong while it builds.

    :ivar problems: all that was found, in the order of the classes' fields.
    """

    def __init__(self) -> None:
        self.problems: list[Found] = []

    def table(self, cls: type, value: object, key: Key) -> Any:
        """An instance of ``cls`` from a table (or from what :data:`SHORT` allows)."""
        short = SHORT.get(cls)
        if short is not None and isinstance(value, short[1]) and not isinstance(value, bool):
            value = {short[0]: value}
        if not isinstance(value, dict):
            self._wrong(key, wrong(value, "is not a table", short[2] if short else _table_hint(cls)))
            return self._stand_in(cls)
        hints = _hints(cls)
        fields = (field for field in attrs.fields(cls) if not (cls is model.Config and field.name == "base"))
        known = {written_name(field.name): field for field in fields}
        for name in value:
            if name not in known:
                self._unknown(key, name, known)
        built = {}
        for name, field in known.items():
            if name in value:
                written, default = value[name], field.default
                built[field.name] = self.value(hints[field.name], written, (*key, name), default=default)
            elif field.default is attrs.NOTHING:
                self.problems.append(Found(key, f"{show(name)} is missing"))
                built[field.name] = _empty(hints[field.name])
        return cls(**built)

    def value(self, hint: Any, value: object, key: Key, *, default: Any = attrs.NOTHING) -> Any:
        """A value of the type ``hint``; a stand-in of that type when something is wrong."""
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            return self._union(get_args(hint), value, key, default)
        if origin is Annotated:
            try:
                return parse(hint.__metadata__[0], value)
            except Wrong as error:
                self._wrong(key, error)
                return _empty(hint) if default is attrs.NOTHING or default is None else default
        if origin is Literal:
            return self._choice(get_args(hint), value, key)
        if origin is tuple:
            return self._list(get_args(hint)[0], value, key)
        if origin is not None and issubclass(origin, Mapping):
            return self._mapping(hint, value, key)
        if hint is bool:
            if not isinstance(value, bool):
                self._wrong(key, wrong(value, "is not a switch", "write true or false"))
            return bool(value)
        return self.table(hint, value, key)

    def _union(self, arms: tuple[Any, ...], value: object, key: Key, default: Any) -> Any:
        words = [word for arm in arms if get_origin(arm) is Literal for word in get_args(arm)]
        rest = [arm for arm in arms if arm is not type(None) and arm is not Any and _readable(arm)]
        if len(rest) > 1:
            if isinstance(value, str) and value in words:
                return value
            rest = [arm for arm in rest if get_origin(arm) is not Literal]
        optional = type(None) in arms
        # A text that is unset by default has no "off": there it is a text like any other.
        if optional and value == "off" and (default is not None or not _is_text(rest[0])):
            return None
        if isinstance(value, bool) and rest[0] in SWITCHES:
            return rest[0]() if value else None
        before = len(self.problems)
        result = self.value(rest[0], value, key)
        if len(self.problems) > before:
            if optional and attrs.has(rest[0]) and not isinstance(value, dict) and rest[0] not in SHORT:
                del self.problems[before:]
                short = "true or false" if rest[0] in SWITCHES else either(["off", *words])
                hint = f"write {short}, or {_table_hint(rest[0]).removeprefix('write ')}"
                self._wrong(key, wrong(value, "can't be used here", hint))
            return None if default is attrs.NOTHING else default
        return result

    def _choice(self, words: tuple[Any, ...], value: object, key: Key) -> Any:
        for word in words:
            if value == word and type(value) is type(word):
                return word
        if words == (1,):
            self._wrong(key, wrong(value, "can't be used", "only 1 is accepted for now"))
        else:
            near = nearest(value, map(str, words)) if isinstance(value, str) else None
            self._wrong(key, wrong(value, "is not known here", f"write {either(words)}", near))
        return words[0]

    def _list(self, hint: Any, value: object, key: Key) -> tuple[Any, ...]:
        if isinstance(value, list):
            return tuple(self.value(hint, item, (*key, index)) for index, item in enumerate(value))
        if attrs.has(hint) and hint not in SHORT:
            name = key[-1]
            self._wrong(key, wrong(value, "is not a list of tables", f"write [[{name}]]"))
            return ()
        if value == "off" and hint is Protocol:
            return ()
        return (self.value(hint, value, key),)

    def _mapping(self, hint: Any, value: object, key: Key) -> dict[str, Any]:
        key_hint, value_hint = get_args(hint)
        if not isinstance(value, dict):
            self._wrong(key, wrong(value, "is not a table", _mapping_hint(key)))
            return {}
        built: dict[str, Any] = {}
        for written, item in value.items():
            below = (*key, written)
            try:
                name = parse(key_hint.__metadata__[0], written)
            except Wrong as error:
                self._wrong(below, error)
                continue
            if name in built:
                self.problems.append(Found(below, f"{show(name)} is named twice; names differ in more than case"))
            built[name] = self.value(value_hint, item, below)
        return built

    def _unknown(self, key: Key, name: str, known: Mapping[str, object]) -> None:
        near = nearest(name, known)
        text = "unknown key" + (f"; did you mean {show(near)}?" if near else "")
        self.problems.append(Found((*key, name), text, found=show(name), suggestion=near, unknown_key=True))

    def _wrong(self, key: Key, error: Wrong) -> None:
        self.problems.append(Found(key, error.text, error.found, error.expected, error.suggestion))

    def _stand_in(self, cls: type) -> Any:
        hints = _hints(cls)
        required = [field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING]
        return cls(**{name: _empty(hints[name]) for name in required})


def written_name(name: str) -> str:
    """The key of a field: names that Python keeps for itself have an underscore at their end."""
    return name.removesuffix("_")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _readable(arm: Any) -> bool:
    return get_origin(arm) in (Annotated, Literal, tuple) or isinstance(arm, type)


def _is_text(hint: Any) -> bool:
    return get_origin(hint) is Annotated and get_args(hint)[0] is str


def _empty(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        return get_args(hint)[0]()
    return () if get_origin(hint) is tuple else ""


def _table_hint(cls: type) -> str:
    names = [written_name(field.name) for field in attrs.fields(cls)]
    return f"write a table {{ {', '.join(f'{name} = …' for name in names[:3])}{', …' if len(names) > 3 else ''} }}"


def _mapping_hint(key: Key) -> str:
    if key == ("upstreams",):
        return "write [upstreams.NAME]"
    return 'write a table such as { name = "value" }'
