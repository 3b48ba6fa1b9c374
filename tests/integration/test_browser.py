"""What Chromium lets pages do, by what it is told: CORS, cookies, frames and scripts."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.integration.harness import Stage

#: Tries everything, and writes down what came of it.
PAGE = """<!DOCTYPE html><title>page</title><pre id="out">nothing</pre><script>
async function tried(name, options) {
  try {
    const answer = await fetch("http://api.example.test/" + name, options);
    return [answer.status, await answer.text(), answer.headers.get("x-total"), answer.headers.get("x-other")];
  } catch (error) { return String(error); }
}
(async () => {
  const out = {cookies: document.cookie};
  out.get = await tried("x");
  out.put = await tried("x", {method: "PUT", headers: {"x-a": "1"}});
  out.other_field = await tried("x", {headers: {"x-b": "1"}});
  out.other_method = await tried("x", {method: "DELETE"});
  out.refused = await tried("denied");
  out.with_cookies = await tried("x", {credentials: "include"});
  document.getElementById("out").textContent = JSON.stringify(out);
})();
</script>"""

CONFIG = """
[[listen]]
endpoint = "LISTEN"

[[routes]]
match.host = ["app.example.test", "evil.example.test"]
respond = { content_type = "text/html", body = '''PAGE''' }
headers.response.add = { set-cookie = "session=1" }
cookies = true

[[routes]]
match = { host = ["app.example.test"], path = "/readable" }
respond = { content_type = "text/html", body = '''PAGE''' }
headers.response.add = { set-cookie = "csrf=2" }
cookies = { readable = "csrf" }

[[routes]]
match = { host = ["app.example.test"], path = "/strict" }
respond = { content_type = "text/html", body = '''PAGE''' }
security_headers = "strict"

[[routes]]
match.host = "api.example.test"
respond = { body = "data", headers = { x-total = "7", x-other = "8", access-control-allow-origin = "*" } }
access = { deny_paths = "/denied", methods = ["GET", "PUT", "DELETE", "OPTIONS"] }
cors = { origins = "http://app.example.test", methods = "PUT", headers = "x-a", expose = "x-total" }
"""
FAILED = "TypeError: Failed to fetch"
DATA = [200, "data", "7", None]


def test_pages_may_do_what_is_allowed_and_nothing_else(
    stage: Stage, peer: Callable[[str], str], tmp_path: Path
) -> None:
    proxy = stage.configured(CONFIG.replace("PAGE", PAGE))
    command = [
        peer("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
        f"--user-data-dir={tmp_path / 'profile'}", f"--host-resolver-rules=MAP * 127.0.0.1:{proxy.port}",
        "--virtual-time-budget=20000", "--dump-dom",
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}

    def shown(url: str) -> str:
        done = subprocess.run([*command, url], env=environment, capture_output=True, timeout=60, check=True)
        found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout.decode())
        assert found, (done.stdout[-2000:], done.stderr[-2000:])
        return found[1]

    app = json.loads(shown("http://app.example.test/"))
    assert app["get"] == app["put"] == DATA
    assert app["other_field"] == app["other_method"] == FAILED
    assert app["refused"][0] == 403
    assert app["with_cookies"] == FAILED
    assert app["cookies"] == ""  # the session is for no script
    evil = json.loads(shown("http://evil.example.test/"))
    assert {evil[name] for name in evil.keys() - {"cookies"}} == {FAILED}
    assert json.loads(shown("http://app.example.test/readable"))["cookies"] == "csrf=2"
    assert shown("http://app.example.test/strict") == "nothing"  # no script in the page runs
