"""What is imported: nothing of Twisted by what decides and speaks the wire, and little by a start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import revproxy

ROOT = Path(revproxy.__file__).parent
PURE = [f"revproxy.http.{path.stem}" for path in sorted((ROOT / "http").glob("[!_]*.py"))]
PURE += [f"revproxy.upstream.balance.{path.stem}" for path in sorted((ROOT / "upstream" / "balance").glob("[!_]*.py"))]
PURE += [f"revproxy.filters.{path.stem}" for path in sorted((ROOT / "filters").glob("[!_]*.py"))]
PURE += [f"revproxy.coding.{path.stem}" for path in sorted((ROOT / "coding").glob("[!_]*.py"))]
PURE += [f"revproxy.auth.{name}" for name in ("credentials", "hashes", "outcome", "token")]
PURE += [f"revproxy.limits.{path.stem}" for path in sorted((ROOT / "limits").glob("[!_]*.py"))]
_CARRIES_OUT = {"handler", "fill", "waiting", "serving", "purging"}
PURE += [
    f"revproxy.cache.{path.stem}" for path in sorted((ROOT / "cache").glob("[!_]*.py")) if path.stem not in _CARRIES_OUT
]
PURE += [f"revproxy.access.{name}" for name in ("networks", "lists", "rules")]
PURE += [
    "revproxy.limits.client",
    "revproxy.limits.bans",
    "revproxy.limits.caps",
    "revproxy.limits.lines",
    "revproxy.limits.refusals",
    "revproxy.limits.shed",
    "revproxy.tls.hello",
    "revproxy.routing",
    "revproxy.upstream.balance",
    "revproxy.upstream.retry",
    "revproxy.fault",
]


def test_pure_modules_import_no_twisted() -> None:
    code = "import sys, importlib\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    code += "    assert not any(m == 'twisted' or m.startswith('twisted.') for m in sys.modules), name\n"
    subprocess.run([sys.executable, "-c", code, *PURE], check=True, cwd=ROOT.parent, timeout=30)


#: What no start needs whose configuration asks for none of it.
DEAR = [
    "argon2",
    "joserfc",
    "revproxy.auth.compile",
    "revproxy.cache.handler",
    "revproxy.middleware.filters",
    "revproxy.tls.acme",
    "twisted.internet.testing",
    "twisted.web.client",
]


def test_a_start_imports_what_the_configuration_needs() -> None:
    code = "import sys; from revproxy.service import Options, makeService; options = Options()\n"
    code += "options.parseOptions(['--listen', 'tcp:0:interface=127.0.0.1', '--to', 'tcp:127.0.0.1:1'])\n"
    code += (
        "makeService(options).privilegedStartService(); print(*[name for name in sys.argv[1:] if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *DEAR], check=True, cwd=ROOT.parent, timeout=30, capture_output=True, text=True
    )
    assert done.stdout.split() == []


def test_the_check_would_notice() -> None:
    code = "import sys, revproxy.wire\nsys.exit(any(m == 'twisted' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, timeout=30, check=False).returncode == 1
