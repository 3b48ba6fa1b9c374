"""What can't come to a certificate, said beforehand."""

from __future__ import annotations

import pytest

from revproxy.config.tls import Acme
from revproxy.tls.acme import check_acme


def test_the_usual_is_right() -> None:
    assert list(check_acme(Acme(names=("example.com", "xn--bcher-kva.example", "localhost"), email="me@x.org"))) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("*.example.com", '"*.example.com" can\'t be ordered: wildcards'),
        ("192.0.2.1", "is an address"),
        ("[2001:db8::1]", "is an address"),
        ("2001:db8::1", "is an address"),
        ("Example.com", "normal form"),
        ("../example.com", "normal form"),
        (".hidden", "normal form"),
        ("bücher.example", "normal form"),
        ("", "normal form"),
    ],
)
def test_names(name: str, words: str) -> None:
    (found,) = check_acme(Acme(names=("a.test", name)))
    assert words in found


def test_how_many_names() -> None:
    assert list(check_acme(Acme(names=()))) == ['no names to order a certificate for; write names = ["example.com"]']
    assert list(check_acme(Acme(names=tuple(f"{n}.test" for n in range(100))))) == []
    (found,) = check_acme(Acme(names=tuple(f"{n}.test" for n in range(101))))
    assert "101 names are too many" in found
    assert list(check_acme(Acme(names=("a.test", "a.test")))) == ['"a.test" is named twice']


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://acme.test/dir", "is not an https URL"),
        ("acme.test", "is not a URL"),
        ("https://", "is not a URL"),
        ("https://a:x/", "is not a URL"),
        ("https://[a/", "is not a URL"),
        ("https://a b/", "is not a URL"),
        ("https://ä.test/", "is not a URL"),
        ("https://me@acme.test/", "is never sent"),
        ("https://acme.test/#dir", "is never sent"),
    ],
)
def test_directories(url: str, words: str) -> None:
    (found,) = check_acme(Acme(directory=url, names=("a.test",)))
    assert words in found


@pytest.mark.parametrize("email", ["", "me", "@x", "me@", "a@x.org,b@x.org", "a@x.org?subject=b", "a b@x.org", "a@x\n"])
def test_mail_addresses(email: str) -> None:
    (found,) = check_acme(Acme(names=("a.test",), email=email))
    assert "is not one mail address" in found


def test_a_missing_package_is_said_with_what_installs_it() -> None:
    (found,) = check_acme(Acme(names=("a.test",)), lambda package: package != "josepy")
    assert found == 'acme needs the package josepy: pip install "revproxy[acme]"'
