"""What browsers are told: security headers, CORS and cookies' attributes; on cached responses and error pages, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from revproxy.config import model
from revproxy.config.browsers import PRESET_HSTS, PRESETS
from revproxy.http.cors import CorsRules, is_preflight
from revproxy.http.message import Answer, Field, field
from revproxy.http.setcookie import missing_attributes

if TYPE_CHECKING:
    from revproxy.exchange import Exchange

Hook = Callable[["Exchange"], "Answer | None"]

_NAMES = {
    "content_type_options": b"X-Content-Type-Options",
    "frame_options": b"X-Frame-Options",
    "referrer_policy": b"Referrer-Policy",
    "content_security_policy": b"Content-Security-Policy",
    "content_security_policy_report_only": b"Content-Security-Policy-Report-Only",
    "permissions_policy": b"Permissions-Policy",
    "cross_origin_opener_policy": b"Cross-Origin-Opener-Policy",
    "cross_origin_embedder_policy": b"Cross-Origin-Embedder-Policy",
    "cross_origin_resource_policy": b"Cross-Origin-Resource-Policy",
    "permitted_cross_domain_policies": b"X-Permitted-Cross-Domain-Policies",
}


def security_headers(written: model.SecurityHeaders) -> Hook:
    """A client-response hook that adds the fields a response does not have. 2 us for a response of eight fields."""
    preset = PRESETS[written.preset]
    plain = []
    for key, name in _NAMES.items():
        value = getattr(written, key)
        value = preset.get(key) if value == "preset" else value
        if value is not None:
            plain.append(field(name, value.encode("latin-1")))
    hsts = PRESET_HSTS[written.preset] if isinstance(written.hsts, str) else written.hsts
    secure = plain if hsts is None else [*plain, field(b"Strict-Transport-Security", hsts_value(hsts))]
    # what the operator wrote for a listener is meant, and a preset is not
    gives_way = isinstance(written.hsts, str)
    override = written.override

    def hook(exchange: Exchange) -> None:
        request = exchange.request
        wanted = plain
        if request.scheme == b"https" and not (gives_way and request.arrival.hsts):
            wanted = secure
        response = exchange.response
        assert response is not None
        headers = response.headers
        if override:
            names = {f[0] for f in wanted}
            headers.fields = [f for f in headers.fields if f[0] not in names] + wanted
            return
        there = {f[0] for f in headers.fields}
        missing = [f for f in wanted if f[0] not in there]
        if b"content-security-policy" in there:
            missing = _without_frames(headers.fields, missing)
        headers.fields = headers.fields + missing

    return hook


def _without_frames(fields: list[Field], missing: list[Field]) -> list[Field]:
    """A policy that says who may frame a page has said what X-Frame-Options would (CSP 3, 6.4.2)."""
    if any(f[0] == b"content-security-policy" and _has_frame_ancestors(f[1]) for f in fields):
        return [f for f in missing if f[0] != b"x-frame-options"]
    return missing


def _has_frame_ancestors(policies: bytes) -> bool:
    """Whether one of the policies in a field has the directive (CSP 3, 2.2.1: its name is what comes first)."""
    policies = policies.lower()
    return b"frame-ancestors" in policies and any(
        directive.split(None, 1)[:1] == [b"frame-ancestors"] for directive in policies.replace(b",", b";").split(b";")
    )


def cors(written: model.Cors) -> tuple[Hook, Hook]:
    """A client-request hook that answers preflights, and a client-response hook for all other requests."""
    rules = CorsRules(
        written.origins, written.methods, written.headers, written.expose, written.credentials, written.max_age
    )

    def answers(exchange: Exchange) -> Answer | None:
        request = exchange.request
        if request.method == b"OPTIONS" and is_preflight(request):
            return Answer(204, rules.preflight(request))
        return None

    def tells(exchange: Exchange) -> None:
        request = exchange.request
        if request.method == b"OPTIONS" and is_preflight(request):
            return  # said above, or a refusal
        asked = request.headers if exchange.asked is None else exchange.asked
        response = exchange.response
        assert response is not None
        response.headers.fields = rules.response(asked.get(b"origin"), response.headers.fields)

    return answers, tells


def cookies(written: model.Cookies) -> Hook:
    """A client-response hook that adds what cookies lack."""
    secure, http_only = written.secure, written.http_only
    readable = frozenset(name.encode("ascii") for name in written.readable)
    same_site = None if written.same_site is None else written.same_site.capitalize().encode("ascii")

    def hook(exchange: Exchange) -> None:
        response = exchange.response
        assert response is not None
        fields = response.headers.fields
        changed: list[Field] | None = None
        for at, f in enumerate(fields):
            if f[0] != b"set-cookie":
                continue
            added = missing_attributes(
                f[1],
                https=exchange.request.scheme == b"https",
                secure=secure,
                http_only=http_only,
                readable=readable,
                same_site=same_site,
            )
            if added:
                if changed is None:
                    changed = fields[:]
                changed[at] = (f[0], f[1] + added, f[2].rstrip(b" \t") + added, f[3])
        if changed is not None:
            response.headers.fields = changed

    return hook


def hsts_value(written: model.Hsts) -> bytes:
    """The value of Strict-Transport-Security (RFC 6797 6.1)."""
    value = b"max-age=%d" % int(written.max_age)
    if written.subdomains:
        value += b"; includeSubDomains"
    if written.preload:
        value += b"; preload"
    return value
