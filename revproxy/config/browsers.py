"""What the operator wrote about what browsers are told; the rules are those of :mod:`revproxy.config.model`."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from revproxy.config.tls import Hsts
from revproxy.config.words import CookieName, CorsOrigin, DurationOrZero, FieldName, FieldValue, MethodOrAny


@frozen(kw_only=True)
class SecurityHeaders:
    """Fields that make browsers careful, on responses that don't have them.

    ``preset`` gives the value of each field that is not written (:data:`PRESETS`); ``None`` leaves one out. With
    ``override`` they take the place of a backend's own. Strict-Transport-Security is for clients that came by https.
    """

    preset: Literal["default", "strict"] = "default"
    hsts: Hsts | Literal["preset"] | None = "preset"
    content_type_options: Literal["nosniff", "preset"] | None = "preset"
    frame_options: Literal["DENY", "SAMEORIGIN", "preset"] | None = "preset"
    referrer_policy: FieldValue | Literal["preset"] | None = "preset"
    content_security_policy: FieldValue | Literal["preset"] | None = "preset"
    content_security_policy_report_only: FieldValue | Literal["preset"] | None = "preset"
    permissions_policy: FieldValue | Literal["preset"] | None = "preset"
    cross_origin_opener_policy: FieldValue | Literal["preset"] | None = "preset"
    cross_origin_embedder_policy: FieldValue | Literal["preset"] | None = "preset"
    cross_origin_resource_policy: FieldValue | Literal["preset"] | None = "preset"
    permitted_cross_domain_policies: FieldValue | Literal["preset"] | None = "preset"
    override: bool = False


#: Powerful features of browsers that few pages need.
_FEATURES = (
    "accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "geolocation", "gyroscope", "hid",
    "magnetometer", "microphone", "midi", "payment", "picture-in-picture", "publickey-credentials-get",
    "screen-wake-lock", "serial", "usb", "xr-spatial-tracking",
)  # fmt: skip

#: What is sent where nothing is written, by preset and key. ``default`` changes no page that does nothing odd;
#: ``strict`` is near to what the OWASP Secure Headers Project proposes, and pages have to be made for it.
PRESETS: dict[str, dict[str, str]] = {
    "default": {
        "content_type_options": "nosniff",
        "frame_options": "SAMEORIGIN",
        "referrer_policy": "strict-origin-when-cross-origin",
        "cross_origin_opener_policy": "same-origin-allow-popups",
    },
    "strict": {
        "content_type_options": "nosniff",
        "frame_options": "DENY",
        "referrer_policy": "no-referrer",
        "content_security_policy": (
            "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
        ),
        "permissions_policy": ", ".join(f"{name}=()" for name in _FEATURES),
        "cross_origin_opener_policy": "same-origin",
        "cross_origin_embedder_policy": "require-corp",
        "cross_origin_resource_policy": "same-origin",
        "permitted_cross_domain_policies": "none",
    },
}
PRESET_HSTS = {"default": Hsts(max_age=365 * 86400.0), "strict": Hsts(max_age=730 * 86400.0, subdomains=True)}


@frozen(kw_only=True)
class Cors:
    """Which pages of other origins may read responses, by the CORS protocol of the Fetch standard.

    ``origins`` are ``"https://app.example"``, ``"https://*.example"`` (any name below) or ``"*"``. ``methods`` and
    ``headers`` are what such pages may send beyond what everyone may; ``expose`` names the response fields that they
    may read. With ``credentials`` they send cookies. Browsers ask again after ``max_age`` seconds.
    """

    origins: tuple[CorsOrigin, ...]
    methods: tuple[MethodOrAny, ...] = ("GET", "HEAD", "POST")
    headers: tuple[FieldName, ...] = ()
    expose: tuple[FieldName, ...] = ()
    credentials: bool = False
    max_age: DurationOrZero = 600.0


@frozen(kw_only=True)
class Cookies:
    """Attributes that are added to cookies that lack them: nothing is ever taken away.

    ``secure`` adds Secure for clients that came by https; ``http_only`` keeps scripts from all cookies but those in
    ``readable``; ``same_site`` says which requests of other sites carry them.
    """

    secure: bool = True
    http_only: bool = True
    readable: tuple[CookieName, ...] = ()
    same_site: Literal["lax", "strict", "none"] | None = "lax"
