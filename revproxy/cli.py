"""``revproxy run | check``: what people type."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Any

from twisted.python import usage

from revproxy import __version__

USAGE = """\
revproxy COMMAND [OPTIONS]

  run --config FILE                            run the proxy that FILE describes
  run --listen tcp:8080 --to tcp:HOST:PORT     the same without a file
  check FILE                                   check FILE and say what it describes
  --version                                    the version
  --help                                       this text; 'revproxy run --help' says more
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The console script: runs a command and returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = words.pop(0) if words else "--help"
    if command in ("--help", "-h", "help"):
        print(USAGE, end="")
        return 0
    if command == "--version":
        print(f"revproxy {__version__}")
        return 0
    gc.disable()  # what is imported stays: looking for garbage among it takes a twentieth of a start
    try:
        if command == "check":
            return check(words)
        if command == "run":
            return run(words)
    except KeyboardInterrupt:  # before there was a reactor to take it
        return 130
    finally:
        gc.enable()
    print(f"revproxy: no command {command!r}; there are run and check, see 'revproxy --help'", file=sys.stderr)
    return 1


def check(words: Sequence[str]) -> int:
    """``revproxy check FILE``: 0 and a summary, or 1 and every error."""
    from twisted.internet import reactor  # it is never run

    from revproxy.config.compile import compile_config
    from revproxy.config.describe import describe
    from revproxy.config.errors import ConfigError
    from revproxy.config.load import load_file

    if words[:1] in (["--config"], ["-c"]):
        words = words[1:]
    if words[:1] in (["--help"], ["-h"]):
        print("usage: revproxy check FILE\n\nSays everything that is wrong in a configuration, or what it does.")
        return 0
    files = [word for word in words if not word.startswith("-")]
    if len(files) != 1 or len(files) != len(words):
        print("revproxy: usage: revproxy check FILE", file=sys.stderr)
        return 1
    try:
        config = load_file(files[0])
        compile_config(config, reactor)
    except ConfigError as e:
        print(e, file=sys.stderr)
        return 1
    print(describe(config))
    return 0


def run(words: Sequence[str]) -> int:
    """``revproxy run``: runs until a signal; 1 and a line when it can't start."""
    from revproxy import reactor as lean

    lean.install()
    from twisted.internet import reactor

    from revproxy.service import Options, makeService

    options = Options()
    try:
        options.parseOptions(list(words))
        _start_logging()
        service = makeService(options)
        service.privilegedStartService()
        service.startService()
        gc.enable()
    except usage.UsageError as e:
        print(f"revproxy run: {e}; see 'revproxy run --help'", file=sys.stderr)
        return 1
    except SystemExit as e:
        if e.code is None or isinstance(e.code, int):
            return e.code or 0
        print(e.code, file=sys.stderr)
        return 1
    running: Any = reactor
    running.addSystemEventTrigger("before", "shutdown", service.stopService)
    running.run()
    return service.exit_status


def _start_logging() -> None:
    """Twisted's log, from the level of information up, on standard error."""
    from twisted.logger import (
        FilteringLogObserver,
        LogLevel,
        LogLevelFilterPredicate,
        globalLogBeginner,
        textFileLogObserver,
    )

    predicate: Any = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
    to_stderr: Any = textFileLogObserver(sys.stderr)
    observer: Any = FilteringLogObserver(to_stderr, [predicate])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


if __name__ == "__main__":
    sys.exit(main())
