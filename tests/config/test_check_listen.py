"""What is wrong with listeners gives exactly these lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from revproxy.config.errors import ConfigError
from revproxy.config.load import load_text
from revproxy.config.model import Config
from tests.certificates import authority

PLAIN = 'endpoint = "tcp:8080"\n[[listen]]\n'
ACME = 'certificates = "certs"\n[listen.tls.acme]\n'


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with a folder of certificates, authorities, and files that are neither."""
    (tmp_path / "certs").mkdir()
    (tmp_path / "ca.pem").write_bytes(authority().pem + authority("Other").pem)
    (tmp_path / "key.pem").write_bytes(authority().key_pem())
    (tmp_path / "der").write_bytes(b"0\x82\x01\x02")
    return tmp_path


def load(base: Path, listen: str, routes: str = "respond = 404") -> Config:
    """A configuration with these lines in its listener, from line 2 on."""
    return load_text(f"[[listen]]\n{listen}\n[[routes]]\n{routes}\n", source="F", base=str(base))


def problems(base: Path, listen: str, routes: str = "respond = 404") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(base, listen, routes)
    return [str(problem) for problem in caught.value.errors]


def tls(text: str, endpoint: str = "tcp:8443") -> str:
    """A listener with this TLS table, from line 6 on; before it one without."""
    return f'{PLAIN}endpoint = "{endpoint}"\n[listen.tls]\n{text}'


GOOD = [
    'tls = "certs"',
    'tls = { certificates = "certs", hsts = "365d", client = "ca.pem" }',
    'tls = { certificates = "made", acme = "internal" }',
    'tls = { certificates = "made", acme = { names = "a.b", challenge = "tls-alpn-01" } }',
    'tls = { certificates = "certs", hsts = { max_age = "0s", subdomains = true } }',
    'tls = { certificates = "certs", hsts = { max_age = "365d", subdomains = true, preload = true } }',
    'tls = { certificates = "certs", tickets = "7d", strict_sni = true }',
    'proxy_protocol = ["10.0.0.0/8", "loopback"]\nhttp2 = true',
    'tls = "certs"\nproxy_protocol = "10.0.0.0/8"',
]


@pytest.mark.parametrize("listen", GOOD)
def test_what_is_right(base: Path, listen: str) -> None:
    assert len(load(base, f'endpoint = "tcp:8443"\n{listen}').listen) == 1


def test_http_01_has_its_plain_listener(base: Path) -> None:
    assert len(load(base, tls(ACME + 'names = ["a.b", "c.d"]\nca = "ca.pem"\nemail = "a@b.c"')).listen) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # certificates
        ('certificates = "none"', 'F:6: listen[1].tls.certificates: the folder "none" does not exist'),
        (
            'certificates = "ca.pem"',
            'F:6: listen[1].tls.certificates: "ca.pem" is a file; write the folder that it is in',
        ),
        (
            'certificates = "no/thing"\nacme = "internal"',
            'F:6: listen[1].tls.certificates: the folder "no/thing" can\'t be made; "BASE/no" does not exist',
        ),
        ("http2 = true", 'F:5: listen[1].tls: "certificates" is missing'),
        ('certificates = "certs"\nalpn = "h2"', "F:7: listen[1].tls.alpn: unknown key"),
        (
            'certificates = "certs"\nprofile = "old"',
            'F:7: listen[1].tls.profile: "old" is not known here; write "intermediate" or "modern"',
        ),
        # names
        (
            'certificates = "certs"\ndefault = "a.b"\nstrict_sni = true',
            "F:7: listen[1].tls.default: is for names that nothing is there for, which strict_sni refuses; keep one",
        ),
        (
            'certificates = "certs"\ndefault = "*.a.b"',
            'F:7: listen[1].tls.default: "*.a.b" is not a host; write a name such as "example.com"',
        ),
        # clients
        (
            'certificates = "certs"\nclient = "none.pem"',
            'F:7: listen[1].tls.client.ca: "none.pem" can\'t be read: no such file or directory',
        ),
        ('certificates = "certs"\nclient = "certs"', 'F:7: listen[1].tls.client.ca: "certs" can\'t be read: is a dir'),
        (
            'certificates = "certs"\nclient.ca = "key.pem"',
            'F:7: listen[1].tls.client.ca: "key.pem" has no certificates in PEM ("-----BEGIN CERTIFICATE-----"); '
            "write a file of authorities",
        ),
        ('certificates = "certs"\nclient.ca = "der"', 'F:7: listen[1].tls.client.ca: "der" has no certificates in PEM'),
        (
            'certificates = "certs"\nclient = true',
            "F:7: listen[1].tls.client: true is not a table; write the authorities' PEM file, or a table",
        ),
        # times
        (
            'certificates = "certs"\ntickets = "8d"',
            'F:7: listen[1].tls.tickets: is longer than clients may keep a session; write "7d" or less',
        ),
        (
            'certificates = "certs"\nhsts = 31536000',
            'F:7: listen[1].tls.hsts: 31536000 is not a table; write a time such as "365d", or a table',
        ),
        (
            'certificates = "certs"\nhsts = "1y"',
            'F:7: listen[1].tls.hsts.max_age: "1y" is not a duration; write a number with a unit',
        ),
        (
            'certificates = "certs"\nhsts = { max_age = "365d", preload = true }',
            'F:7: listen[1].tls.hsts.preload: needs "subdomains = true": browsers preload a host with all below it',
        ),
        (
            'certificates = "certs"\nhsts = { max_age = "364d", preload = true, subdomains = true }',
            'F:7: listen[1].tls.hsts.max_age: is too little for "preload", which needs "365d" or more',
        ),
        # ACME
        (
            'certificates = "certs"\nacme = "letsencrypt"',
            'F:7: listen[1].tls.acme: "letsencrypt" can\'t be used here; write "off" or "internal", or a table',
        ),
        (ACME + 'email = "a@b.c"', 'F:7: listen[1].tls.acme: "names" is missing'),
        (ACME + "names = []", "F:8: listen[1].tls.acme.names: is empty; write the hosts that the certificate is for"),
        (
            ACME + 'names = "*.a.b"',
            'F:8: listen[1].tls.acme.names: "*.a.b" is a wildcard, which neither challenge can prove; '
            "write the names one by one",
        ),
        (
            ACME + 'names = ["a.b",\n"192.0.2.1"]',
            'F:9: listen[1].tls.acme.names[1]: "192.0.2.1" is an address; write host names',
        ),
        (
            ACME + 'names = "[2001:db8::1]"',
            'F:8: listen[1].tls.acme.names: "[2001:db8::1]" is an address; write host names',
        ),
        (ACME + 'names = ["a.b", "A.b"]', 'F:8: listen[1].tls.acme.names[1]: "a.b" is there twice'),
        (
            ACME + 'names = "a.b"\ndirectory = "http://ca.example/"',
            'F:9: listen[1].tls.acme.directory: "http://ca.example/" is not the URL of an ACME directory; '
            "it begins with https://",
        ),
        (ACME + 'names = "a.b"\ndirectory = "https://"', "is not the URL of an ACME directory"),
        (ACME + 'names = "a.b"\ndirectory = "https://[x"', "is not the URL of an ACME directory"),
        (
            ACME + 'names = "a.b"\nemail = "mailto:a@b.c"',
            'F:9: listen[1].tls.acme.email: "mailto:a@b.c" is not an email address; did you mean "a@b.c"?',
        ),
        (
            ACME + 'names = "a.b"\nemail = "me"',
            'F:9: listen[1].tls.acme.email: "me" is not an email address; write one such as "you@example.com"',
        ),
        (ACME + 'names = "a.b"\nca = "none"', 'F:9: listen[1].tls.acme.ca: "none" can\'t be read: no such file'),
        (
            ACME + 'names = "a.b"\nchallenge = "dns-01"',
            'F:9: listen[1].tls.acme.challenge: "dns-01" is not known here; write "http-01" or "tls-alpn-01"',
        ),
    ],
)
def test_tls(base: Path, text: str, message: str) -> None:
    (found,) = problems(base, tls(text))
    assert message.replace("BASE", str(base)) in found


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        (
            'endpoint = "tcp:8443"\ntls = "certs"\nhttp2 = true',
            'F:4: listen[0].http2: is for HTTP/2 without TLS; with TLS "tls.http2" is the key, which is true unless',
        ),
        (
            'endpoint = "tcp:8443"\nproxy_protocol = "10.0.0.1/8"',
            'F:3: listen[0].proxy_protocol: "10.0.0.1/8" has bits set behind its prefix; did you mean "10.0.0.0/8"?',
        ),
        (
            'endpoint = "unix:/run/x"\nproxy_protocol = "10.0.0.0/8"',
            "F:3: listen[0].proxy_protocol: names networks, and the peers of a Unix socket have no addresses",
        ),
        (
            'endpoint = "haproxy:tcp:8443"\nproxy_protocol = "10.0.0.0/8"',
            'F:3: listen[0].proxy_protocol: "haproxy:tcp:8443" reads the PROXY header itself, from anybody; leave out',
        ),
        (
            'endpoint = "tls:certs:8443"\ntls = "certs"',
            'F:3: listen[0].tls: "tls:certs:8443" brings its own TLS; beside "tls" write a plain endpoint such as',
        ),
        (
            'endpoint = "tls:certs:8443"\nhttp2 = true',
            'F:3: listen[0].http2: is for HTTP/2 without TLS, and "tls:certs:8443" brings its own TLS; leave it out',
        ),
        (
            'endpoint = "tls:certs:8443"\nproxy_protocol = "10.0.0.0/8"',
            'F:3: listen[0].proxy_protocol: "tls:certs:8443" brings its own TLS, and the PROXY header comes before it',
        ),
        (
            'endpoint = "tcp:443"\ntls = { certificates = "certs", acme = { names = "a.b" } }',
            "F:3: listen[0].tls.acme: the authority asks for http-01 without TLS, at port 80, and no listener is",
        ),
    ],
)
def test_listeners(base: Path, monkeypatch: pytest.MonkeyPatch, listen: str, message: str) -> None:
    monkeypatch.chdir(base)  # Twisted's own endpoints start from there
    (found,) = problems(base, listen)
    assert found.startswith(message)


def test_routes_that_ask_for_certificates_that_nobody_asks_for(base: Path) -> None:
    route = 'respond = 404\nmatch.client_certificate = "*"'
    assert problems(base, tls('certificates = "certs"'), route) == [
        "F:9: routes[0].match.client_certificate: no listener asks for certificates; "
        'write client = "ca.pem" in the "tls" table of one'
    ]
    assert load(base, tls('certificates = "certs"\nclient = "ca.pem"'), route).routes


def test_a_package_that_is_missing_and_too_many_names(monkeypatch):
    names = ", ".join(f'"n{n}.example"' for n in range(101))
    text = SOUND_ACME.replace("@", f"[{names}]")
    with pytest.raises(ConfigError, match="101 names are too many for one certificate; 100 is the most"):
        load_text(text)
    monkeypatch.setattr("revproxy.config.check_listen.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'needs the package josepy: .*: pip install "josepy>=2\.0"'):
        load_text(SOUND_ACME.replace("@", '"a.example"'))


SOUND_ACME = """
[[listen]]
endpoint = "tcp:8443"
tls = { certificates = ".", acme = { challenge = "tls-alpn-01", names = @ } }
[[routes]]
respond = 204
"""
