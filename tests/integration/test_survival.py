"""Upstreams survive: backends die, hang, fail and come back under load, and clients do not notice.

Three backends, each a process of its own, and a revproxy in front of them; 64 clients. Every request is accounted for
by the client that sent it and by the ledgers of the backends. Each test prints a line of counts: ``pytest -rP``.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.integration.backend_process import CONNECTED, LISTENS, Entry
from tests.integration.harness import Proxy, Stage, until
from tests.integration.load import Asked, Load, per_second
from tests.integration.origin import Origin
from tests.integration.other_proxies import STARTS

CLIENTS = 64
#: Failures in a row that eject a backend: the default of ``passive.failures``.
FAILURES = 5
#: Retries that may be made beyond the share of the budget: one for each request in flight at the beginning, those of
#: ten seconds at ten a second that were saved up, and ten for each second of the test.
ALLOWED, ALLOWED_PER_SECOND = CLIENTS + 100, 10
THOUSANDS = 2000
#: How many times longer a soak takes.
soaked = pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)], ids=["short", "soak"])


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Origin]]:
    """Return three backends for all tests."""
    stage = Stage(tmp_path_factory.mktemp("origins"))
    yield [Origin(stage, name) for name in "abc"]
    stage.close()


@pytest.fixture
def origins(company: list[Origin]) -> list[Origin]:
    """Return three backends that are well, whatever became of them in the test before."""
    for origin in company:
        origin.refresh()
    return [origin.listening() for origin in company]


def log_path(stage: Stage) -> Path:
    return stage.folder / "access.log"


def proxy_of(stage: Stage, origins: Iterable[Origin], upstream: str = "", route: str = "") -> Proxy:
    """Start revproxy in front of the backends; with more lines for the upstream and the route."""
    backends = ", ".join(f'"tcp:127.0.0.1:{origin.port}"' for origin in origins)
    return stage.configured(
        f"""
        [[listen]]
        endpoint = "LISTEN:backlog=1024"
        [access_log]
        format = "json"
        path = "{log_path(stage)}"
        [upstreams.app]
        backends = [{backends}]
        {upstream}
        [[routes]]
        upstream = "app"
        {route}
        """
    )


def load_on(stage: Stage, port: int, method: str = "GET", *, warm: float = 0.4, **options: object) -> Load:
    """Start clients, and return when all of them have run for ``warm`` seconds."""
    load: Load = stage.keep(Load(port, method, clients=CLIENTS, **options))  # type: ignore[arg-type]
    until(lambda: load.connections >= CLIENTS, "all clients are connected")
    time.sleep(warm)
    return load


def runs_well(load: Load, proxy: Proxy) -> None:
    """Fail where the framing of any response was wrong, or something came unasked, or the proxy ended."""
    assert load.surplus == 0
    wrong = [a for a in load.asked if a.problem in ("malformed", "surplus", "wrong body", "no answer", "not connected")]
    assert wrong == []
    assert proxy.process.poll() is None


def executed_once(load: Load, origins: Iterable[Origin]) -> Counter[str]:
    """Fail where a request was executed twice, or answered and not executed; return what was executed, by target."""
    executed: Counter[str] = Counter()
    for origin in origins:
        mine = {entry.target for entry in origin.entries(load.method.decode())}
        executed.update(entry.target for entry in origin.entries(load.method.decode()))
        lies = [a for a in load.asked if a.good and a.backend == origin.name and a.target.decode() not in mine]
        assert lies == []
    assert [target for target, count in executed.items() if count > 1] == []
    return executed


def logged(stage: Stage, asked: Iterable[Asked]) -> dict[str, dict[str, object]]:
    """Return the lines of the access log for these requests, by target; waits until they are there."""
    wanted = {one.target.decode() for one in asked}

    def read() -> dict[str, dict[str, object]] | None:
        text = log_path(stage).read_text()
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        found = {line["path"]: line for line in lines if line["path"] in wanted}
        return found if len(found) == len(wanted) else None

    return until(read, "the access log has them") if wanted else {}


# -- 0. what tells is itself right


def test_the_account_is_exact(stage: Stage, origins: list[Origin]) -> None:
    """Without a proxy, the clients and the ledger agree, and every client notices that the backend died."""
    one = origins[0]
    load = load_on(stage, one.port, "POST", warm=0.3)
    assert load.bad() == []
    one.becomes("errors 500")
    until(lambda: len(load.with_status(500)) > CLIENTS, "it fails")
    one.becomes("silent")
    until(lambda: len({e.target for e in one.entries(mode="silent")}) == CLIENTS, "all of them wait")
    one.dies()
    load.stop()
    print(f"no proxy: {load}")
    broken = [asked for asked in load.bad() if asked.problem in ("closed", "reset")]
    assert {asked.target.decode() for asked in broken} == {entry.target for entry in one.entries(mode="silent")}
    assert len(load.with_status(500)) == len(one.entries(mode="errors"))
    assert executed_once(load, [one]).keys() == {asked.target.decode() for asked in load.asked} - {"-"}


# -- 1. one is killed


def kill(origin: Origin, load: Load, how: str) -> tuple[float, float, int]:
    """Kill a backend under load; ``stopped``: first let it have every client's request, which it never reads.

    Returns when that was asked for, when it was surely gone, and how many requests it can have been sent.
    """
    sent = CLIENTS
    if how == "stopped":
        origin.stops()
        count = 0
        while count != len(load.asked) or not origin.unread():  # until nobody gets an answer any more
            count = len(load.asked)
            time.sleep(0.2)
        sent = origin.unread() + len({e.target for e in origin.entries()} - {a.target.decode() for a in load.asked})
    return *origin.dies(), sent


how_killed = pytest.mark.parametrize("how", [pytest.param("running", marks=pytest.mark.slow), "stopped"])


@soaked
@how_killed
def test_get_while_one_is_killed(stage: Stage, origins: list[Origin], how: str, times: int) -> None:
    proxy = proxy_of(stage, origins)
    load = load_on(stage, proxy.port)
    _, gone, _ = kill(origins[1], load, how)
    time.sleep(0.8 * times)
    load.stop()
    after = [asked for asked in load.asked if asked.began > gone]
    print(f"killed {how}: {load}; {len(after)} after the kill, slowest {max(a.took for a in after):.3f} s")
    runs_well(load, proxy)
    assert load.bad() == []
    assert len(after) > 300 * times
    assert max(asked.ended - max(asked.began, gone) for asked in load.asked) < 1


@soaked
@how_killed
def test_post_while_one_is_killed(stage: Stage, origins: list[Origin], how: str, times: int) -> None:
    """Only what was on its way to the one that was killed may fail, and nothing is executed twice."""
    for at in range(times):
        proxy = proxy_of(stage, origins, 'passive = { eject = "500ms", eject_most = "500ms" }')
        load = load_on(stage, proxy.port, "POST", name=f"post{at}")
        asked_for, gone, sent = kill(origins[1], load, how)
        time.sleep(0.8)
        load.stop()
        executed = executed_once(load, origins)
        bad = load.bad()
        there = [asked for asked in load.asked if asked.began <= gone and asked.ended >= asked_for]
        elsewhere = {e.target for origin in (origins[0], origins[2]) for e in origin.entries("POST")}
        lines = logged(stage, bad)
        print(
            f"killed {how}: {load}; {len(there)} in flight at the kill, {sent} at most sent to it, {len(bad)} failed, "
            f"of which {sum(executed[a.target.decode()] for a in bad)} had been executed; "
            f"log words {dict(Counter(str(line['fault']) for line in lines.values()))}"
        )
        runs_well(load, proxy)
        assert {asked.status for asked in bad} <= {502}
        assert len(bad) <= sent
        assert [asked for asked in bad if asked not in there] == []  # neither begun after it was gone, nor done before
        assert [asked for asked in bad if asked.target.decode() in elsewhere] == []
        # the word for: sent, and closed before an answer; what had not been sent does not fail
        assert {line["fault"] for line in lines.values()} <= {"backend-reset"}
        assert {line["backend"] for line in lines.values()} <= {f"tcp:127.0.0.1:{origins[1].port}"}
        proxy.finish()
        log_path(stage).unlink()
        for origin in origins:
            origin.refresh()
        origins[1].listening()


# -- 2. one never answers


@pytest.mark.slow
@soaked
@pytest.mark.parametrize("how", ["silent", pytest.param("stopped", marks=pytest.mark.slow)])
def test_one_never_answers(stage: Stage, origins: list[Origin], how: str, times: int) -> None:
    proxy = proxy_of(stage, origins, route='retry = { per_try = "500ms" }')
    load = load_on(stage, proxy.port)
    began = origins[1].becomes("silent") if how == "silent" else origins[1].stops()
    time.sleep(1.3 if times == 1 else 9)
    load.stop()
    delayed = sorted(load.slower_than(0.4), key=lambda asked: asked.ended)
    print(f"{how}: {load}; delayed, by second: {per_second((asked.began for asked in delayed), began)}")
    runs_well(load, proxy)
    assert load.bad() == []
    assert load.slowest() < 0.5 + 0.4  # one try of 500 ms, and one that is answered
    # The fifth to time out ejects it. Until then each client can have met it; from then on, none does.
    assert FAILURES <= len(delayed) <= CLIENTS + FAILURES
    ejected = delayed[FAILURES - 1].ended
    assert [asked for asked in delayed if asked.began > ejected + 0.1] == []
    assert len([asked for asked in load.asked if asked.began > ejected + 0.1]) > 300


# -- 3. one fails everything


def bursts(entries: list[Entry], gap: float) -> list[list[Entry]]:
    """Return entries in groups between which there is nothing for ``gap`` seconds."""
    groups: list[list[Entry]] = []
    for entry in entries:
        if not groups or entry.time - groups[-1][-1].time > gap:
            groups.append([])
        groups[-1].append(entry)
    return groups


@pytest.mark.slow
@soaked
def test_one_answers_500_to_everything(stage: Stage, origins: list[Origin], times: int) -> None:
    """Clients see 5 in a row and those on their way by then; after each ejection, twice as long, a few tries."""
    proxy = proxy_of(stage, origins, 'passive = { eject = "500ms", eject_most = "4s" }')
    load = load_on(stage, proxy.port)
    origins[1].becomes("errors 500")
    time.sleep(2.2 if times == 1 else 24.0)
    load.stop()
    failed = load.with_status(500)
    met = origins[1].entries("GET", mode="errors")
    groups = bursts(met, 0.25)
    gaps = [after[0].time - before[0].time for before, after in itertools.pairwise(groups)]
    print(
        f"errors: {load}; in bursts of {', '.join(str(len(group)) for group in groups)}; "
        f"from one to the next {', '.join(f'{gap:.2f}' for gap in gaps)} s"
    )
    runs_well(load, proxy)
    assert len(failed) == len(load.bad()) == len(met)
    assert len(groups[0]) <= FAILURES + CLIENTS
    assert all(group[-1].time - group[0].time < 0.2 for group in groups)
    assert all(len(group) <= FAILURES for group in groups[1:])  # a try, not a share
    # 0.5, 1, 2, 4, 4, …
    due = [min(0.5 * 2**number, 4.0) for number in range(len(gaps))]
    assert len(gaps) >= 2
    assert all(wanted <= gap <= wanted + 0.5 for gap, wanted in zip(gaps, due, strict=True)), gaps


# -- 4. one comes back


def first_use(origin: Origin, since: float) -> float:
    """Wait until a backend gets requests again; return when the first came."""
    first: Entry = until(lambda: next(iter(origin.entries(since=since)), None), "it is used again", 5)
    return first.time


@soaked
def test_one_comes_back_and_checks_see_it(stage: Stage, origins: list[Origin], times: int) -> None:
    health = 'health = { path = "/healthz", interval = "200ms", timeout = "200ms", rise = 2, fall = 2 }'
    proxy = proxy_of(stage, origins, health)
    load = load_on(stage, proxy.port)
    for _ in range(times):
        _, gone = origins[1].dies()
        time.sleep(1.0)
        origins[1].start().listening()
        back = origins[1].entries(LISTENS)[-1].time
        used = first_use(origins[1], gone)
        checks = [e for e in origins[1].entries("GET", since=back) if e.target == "/healthz" and e.time <= used]
        print(f"back: used after {used - back:.3f} s and {len(checks)} checks; {load}")
        assert len(checks) >= 2
        # twice the interval and a phase of one, each give or take a tenth
        assert used - back < 3 * 0.2 * 1.1 + 0.4
    load.stop()
    runs_well(load, proxy)
    assert load.bad() == []


@pytest.mark.slow
@soaked
def test_one_comes_back_and_nothing_checks(stage: Stage, origins: list[Origin], times: int) -> None:
    proxy = proxy_of(stage, origins, 'passive = { eject = "1s", eject_most = "1s" }')
    load = load_on(stage, proxy.port)
    for _ in range(times):
        _, gone = origins[1].dies()
        time.sleep(0.3)  # within its first ejection
        origins[1].start().listening()
        used = first_use(origins[1], gone)
        print(f"back: used {used - gone:.3f} s after the kill; {load}")
        assert 0.9 < used - gone < 1.0 + 0.5
        time.sleep(0.5)
    load.stop()
    runs_well(load, proxy)
    assert load.bad() == []


# -- 5. all close the connections that are kept


@pytest.mark.slow
@soaked
@pytest.mark.parametrize("method", [pytest.param("GET", marks=pytest.mark.slow), "POST"])
def test_all_close_kept_connections(stage: Stage, origins: list[Origin], method: str, times: int) -> None:
    for origin in origins:
        origin.becomes("closes")
    proxy = proxy_of(stage, origins)
    load = load_on(stage, proxy.port, method, name="revproxy")
    load.reaches(THOUSANDS * times)
    print(f"closes: revproxy: {load}")
    runs_well(load, proxy)
    assert load.bad() == []
    if method == "POST":
        executed_once(load, origins)


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("name", STARTS)
def test_what_others_make_of_it(
    stage: Stage, origins: list[Origin], peer: Callable[[str], str], name: str, method: str
) -> None:
    """The figures beside those of the test above. They are printed; only the account itself has to be right."""
    for origin in origins:
        origin.becomes("closes")
    load = load_on(stage, STARTS[name](stage, peer(name), [origin.port for origin in origins]), method, name=name)
    load.reaches(THOUSANDS)
    print(f"closes: {name}: {load}")
    if method == "POST":
        executed_once(load, origins)


# -- 6. all fail


@pytest.mark.slow
@soaked
def test_all_are_dead(stage: Stage, origins: list[Origin], times: int) -> None:
    proxy = proxy_of(stage, origins)
    load = load_on(stage, proxy.port, warm=0.4)
    gone = [origin.dies()[1] for origin in origins][-1]
    time.sleep(1.0 * times)
    load.stop()
    after = [asked for asked in load.asked if asked.began > gone]
    print(f"dead: {load}; after the last one's end {dict(Counter(a.status or a.problem for a in after))}")
    runs_well(load, proxy)
    assert {asked.status for asked in load.asked} <= {200, 502, 503}
    assert {asked.status for asked in after} <= {502, 503}
    assert len(after) > 300 * times
    assert load.slowest() < 1


@pytest.mark.slow
@soaked
def test_retries_do_not_multiply(stage: Stage, origins: list[Origin], times: int) -> None:
    for origin in origins:
        origin.becomes("errors 503")
    retry = 'retry = { on = ["connect", "reset", "timeout", 503], budget = "20%" }'
    proxy = proxy_of(stage, origins, 'passive = "off"', retry)
    load = load_on(stage, proxy.port, warm=1.0 * times)
    load.reaches(THOUSANDS * times)
    seconds = time.monotonic() - load.began
    tries = sum(len(origin.entries()) for origin in origins)
    connections = sum(len(origin.entries(CONNECTED)) for origin in origins)
    count = len(load.asked)
    print(f"503: {load}; {tries} tries, {tries / count:.3f} for each; {connections} connections")
    runs_well(load, proxy)
    assert {asked.status for asked in load.asked} == {503}
    assert count < tries <= 1.2 * count + ALLOWED + ALLOWED_PER_SECOND * seconds
    assert connections <= 3 * CLIENTS


# -- 7. one dies again and again


@pytest.mark.slow
@soaked
def test_one_dies_again_and_again(stage: Stage, origins: list[Origin], times: int) -> None:
    proxy = proxy_of(stage, origins, 'passive = { eject = "100ms", eject_most = "200ms" }')
    load = load_on(stage, proxy.port)
    lives = 3 * times
    for _ in range(lives):
        origins[1].dies()
        origins[1].start().listening()
        time.sleep(0.5)
    load.stop()
    starts = [entry.time for entry in origins[1].entries(LISTENS)]
    used = [origins[1].entries(since=start)[:1] for start in starts]
    print(f"dies again: {load}; {lives} deaths, used in {sum(map(bool, used))} of {len(starts)} lives")
    runs_well(load, proxy)
    assert load.bad() == []
    assert sum(bool(entries) and entries[0].time - at < 0.7 for entries, at in zip(used, starts, strict=True)) >= lives


# -- 8. one is slow


@pytest.mark.slow
@soaked
@pytest.mark.parametrize("balance", ["two-choices", pytest.param("least-requests", marks=pytest.mark.slow)])
def test_a_slow_one_gets_little(stage: Stage, origins: list[Origin], balance: str, times: int) -> None:
    origins[1].becomes("slow 0.25")
    proxy = proxy_of(stage, origins, f'balance = "{balance}"')
    load = load_on(stage, proxy.port, warm=1.2 * times)
    load.stop()
    shares = Counter(asked.backend for asked in load.asked)
    print(f"{balance}: {load}")
    runs_well(load, proxy)
    assert load.bad() == []
    # By turns it would get a third, and every client would wait for it every third time.
    assert 0 < shares["b"] < 0.1 * len(load.asked)
    assert min(shares["a"], shares["c"]) > 0.3 * len(load.asked)
