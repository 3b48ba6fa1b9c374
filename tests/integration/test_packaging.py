"""The wheel, the sdist and the editable install, each used from a fresh environment and another folder."""

from __future__ import annotations

import http.client
import http.server
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import threading
import time
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = shutil.ignore_patterns(
    ".*", "build", "dist", "_build", "__pycache__", "*.egg-info", "dropin.cache", "_trial_temp*"
)


def run(*command: str | Path, cwd: Path, timeout: float = 120) -> str:
    """Run a command without our own paths; return what it printed, fail with it."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout}"
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Return the environment without what would put this folder on a child's path."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the source, so that building leaves nothing in the real one."""
    pytest.importorskip("build", reason="the package `build` is not installed (extra `test`)")
    copy = tmp_path_factory.mktemp("source") / "revproxy"
    shutil.copytree(ROOT, copy, ignore=SKIPPED)
    return copy


@pytest.fixture(scope="module")
def archives(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the built wheel and sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--sdist", "--outdir", out, source, cwd=out)
    return {"wheel": next(out.glob("*.whl")), "sdist": next(out.glob("*.tar.gz"))}


def fresh_environment(folder: Path) -> Path:
    """Return the Python of a new environment that sees our dependencies, but no installed revproxy.

    The dependencies come from the running environment by a .pth line; .pth files found there are
    not followed, so an editable revproxy in it stays invisible.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    here = sysconfig.get_path("purelib")
    (packages / "dependencies.pth").write_text(f"{here}\n")
    return folder / "bin" / "python"


@pytest.fixture(
    scope="module",
    params=[pytest.param("wheel", marks=pytest.mark.slow), pytest.param("sdist", marks=pytest.mark.slow), "editable"],
)
def installed(
    request: pytest.FixtureRequest, source: Path, archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the ``bin`` of a fresh environment in which revproxy was installed, one way or another."""
    folder = tmp_path_factory.mktemp(request.param)
    python = fresh_environment(folder / "env")
    what = ["--editable", source] if request.param == "editable" else [archives[request.param]]
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", *what,
        cwd=folder,
    )  # fmt: skip
    return python.parent


@pytest.fixture
def backend() -> Iterator[int]:
    """Return the port of a server from the standard library that answers every GET."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"served {self.path}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def get(port: int, path: str, process: subprocess.Popen[str], limit: float = 20) -> tuple[int, bytes]:
    """Return status and body of a GET, tried until the process listens; fail when it ends or takes too long."""
    deadline = time.monotonic() + limit
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except ConnectionRefusedError:
            assert process.poll() is None, f"twistd ended:\n{process.stdout.read() if process.stdout else ''}"
            assert time.monotonic() < deadline, "twistd does not listen"
            time.sleep(0.05)
        finally:
            connection.close()


def twistd(bin_: Path, *arguments: str) -> list[str]:
    """Return the command line of twistd in an environment to which it was not itself installed."""
    start = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
    return [str(bin_ / "python"), "-c", start, *arguments]


def test_twistd_lists_the_service_and_the_reactor(installed: Path, tmp_path: Path) -> None:
    text = run(*twistd(installed, "--help"), cwd=tmp_path)
    assert "revproxy" in text
    assert "An event-driven reverse proxy." in text
    assert "Traceback" not in text
    reactors = run(*twistd(installed, "--help-reactors"), cwd=tmp_path)
    assert "revproxy" in reactors
    assert "Traceback" not in reactors


def test_console_script_is_installed(installed: Path, tmp_path: Path) -> None:
    assert os.access(installed / "revproxy", os.X_OK)
    text = run(installed / "python", "-c", "import revproxy.demo; print(revproxy.__version__)", cwd=tmp_path)
    assert text.strip() == "0.1.0"


def test_request_is_proxied_from_another_folder(installed: Path, tmp_path: Path, backend: int) -> None:
    port = free_port()
    service = ["revproxy", "--listen", f"tcp:{port}:interface=127.0.0.1", "--to", f"tcp:127.0.0.1:{backend}"]
    process = subprocess.Popen(
        twistd(installed, "-n", "--pidfile=", *service),
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert get(port, "/a/b?c=d", process) == (200, b"served /a/b?c=d")
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=20)
    # twistd dies of the signal that stopped it, after an orderly end.
    assert process.returncode in (0, -signal.SIGTERM), output
    assert "Main loop terminated" in output
    assert "Traceback" not in output


def test_read_only_installation_is_quiet(archives: dict[str, Path], tmp_path: Path) -> None:
    python = fresh_environment(tmp_path / "env")
    packages = next((tmp_path / "env").glob("lib/python*/site-packages"))
    with zipfile.ZipFile(archives["wheel"]) as wheel:
        wheel.extractall(packages)
    # A folder in the place of the cache can be neither read nor replaced, not even by root.
    (packages / "twisted" / "plugins" / "dropin.cache").mkdir()
    text = run(*twistd(python.parent, "--help"), cwd=tmp_path)
    assert "An event-driven reverse proxy." in text
    assert "Traceback" not in text


def test_archives_hold_the_plugin_and_do_not_shadow_twisted(archives: dict[str, Path]) -> None:
    with zipfile.ZipFile(archives["wheel"]) as wheel:
        names = wheel.namelist()
    assert [name for name in names if name.startswith("twisted/")] == ["twisted/plugins/revproxy_plugin.py"]
    assert "revproxy/py.typed" in names
    assert any(name.startswith("revproxy/demo/") for name in names)
    assert any(name.endswith("/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"revproxy", "twisted"}
    with tarfile.open(archives["sdist"]) as sdist:
        files = {name.partition("/")[2] for name in sdist.getnames()}
    assert "twisted/plugins/revproxy_plugin.py" in files
    assert {"twisted/__init__.py", "twisted/plugins/__init__.py"}.isdisjoint(files)
    assert {"conf/demo.toml", "tests/conftest.py", "docs/conf.py", "Makefile", "LICENSE"} <= files


def test_twisted_here_is_no_package() -> None:
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert not (ROOT / "twisted" / "plugins" / "__init__.py").exists()


def test_twisted_from_the_root_is_the_real_one() -> None:
    show = "import twisted, twisted.plugins; print(twisted.version.package, twisted.__file__)"
    text = run(sys.executable, "-c", show, cwd=ROOT)
    name, path = text.split()
    assert name.lower() == "twisted"
    assert not Path(path).is_relative_to(ROOT / "twisted")
