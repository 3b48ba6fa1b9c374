"""What a newcomer and a reviewer ran into, as conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from revproxy.cli import main
from revproxy.config.errors import ConfigError
from revproxy.config.load import load_text
from revproxy.config.model import Middleware
from tests.kit import ADDRESS, OK, get, hooked, toml


def test_a_folder_by_a_name_without_its_slash_is_redirected(play_once: Any, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("<a href='page'>")
    route = 'match = { path = "/static/*" }\nrewrite = { strip_prefix = "/static" }\nfiles = "www"'
    scenario = play_once(load_text(toml(route=route), base=str(tmp_path)))
    client = scenario.client()
    client.send(get(b"/static?a=1"))
    client.expect_response(302, b"", {b"location": b"./static/?a=1"})
    client.send(get(b"/static/"))
    client.expect_response(200, b"<a href='page'>")


def test_a_hidden_name_is_a_404_of_its_route(play_once: Any, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    scenario = play_once(load_text(toml(route='name = "files"\nfiles = "www"'), base=str(tmp_path)))
    client = scenario.client()
    client.send(get(b"/.git/config"))
    client.expect_response(404)
    assert [(record.route, record.fault) for record in scenario.log] == [("files", "")]


def test_the_log_has_fields_as_received(play_once: Any) -> None:
    scenario = play_once(toml(route='upstream = "app"\nheaders.request = { remove = ["user-agent"] }'))
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get(b"/", b"User-Agent: me"))
    assert backend.expect_request(b"GET", b"/").get(b"user-agent") is None
    backend.send(OK)
    client.expect_response(200)
    assert scenario.log[0].user_agent == b"me"


def test_what_is_cut_on_stopping_is_logged_before_the_end(play_once: Any) -> None:
    scenario = play_once(toml())
    client, backend = scenario.client(), scenario.backend(ADDRESS)
    client.send(get())
    backend.expect_request(b"GET", b"/")
    logged: list[str] = []
    scenario.engine.drain(5.0).addCallback(lambda _: logged.extend(record.fault for record in scenario.log))
    scenario.advance(5.1)
    assert logged == ["stopped"]
    assert client.gone


@pytest.mark.parametrize("answer", ['Answer("403")', 'Answer(403, body="text")', "Answer(403, [1])"])
def test_an_answer_of_wrong_types_is_a_500(play_once: Any, answer: str) -> None:
    def refuses(exchange: Any) -> Any:
        from revproxy import Answer

        return eval(answer, {"Answer": Answer})

    scenario = play_once(hooked(toml(), Middleware(call=refuses)))
    client = scenario.client()
    client.send(get())
    client.expect_response(500)
    assert [record.fault for record in scenario.log] == ["hook-failed"]
    assert scenario.errors
    scenario.errors.clear()


def write(folder: Path, route: str, module: str = "") -> Path:
    (folder / "beside_this_file.py").write_text(module)
    path = folder / "proxy.toml"
    path.write_text(toml(route=route))
    return path


def test_modules_beside_the_configuration_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, 'upstream = "app"\nmiddleware = "beside_this_file:hook"', "def hook(exchange): pass\n")
    assert main(["check", str(path)]) == 0
    assert main(["check", "--config", str(path)]) == 0
    capsys.readouterr()


def test_a_reference_that_fails_is_one_line_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, 'resource = "os:kill"')
    assert main(["check", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}:")
    assert "TypeError" in line
    with pytest.raises(ConfigError, match="leave out the scheme"):
        load_text(toml(route='match.host = "http://example.com"\nupstream = "app"'))
