"""``python -m revproxy.demo``: the demo backends alone, or ``run``: with revproxy in front."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from revproxy.demo.run import BACKEND_PORTS, serve_backends, serve_demo


def _ports(text: str) -> list[int]:
    """Read ``9001,9002``; raises ArgumentTypeError."""
    try:
        ports = [int(part) for part in text.split(",")]
    except ValueError:
        ports = []
    if not ports or not all(0 <= port < 65536 for port in ports):
        raise argparse.ArgumentTypeError("expected ports such as 9001,9002,9003")
    return ports


def main(arguments: Sequence[str]) -> int:
    """Run a command line (without the program's name); return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m revproxy.demo", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["backends", "run"], default="backends")
    parser.add_argument("--ports", type=_ports, default=list(BACKEND_PORTS), help="of the backends, on 127.0.0.1")
    parser.add_argument("--config", default="conf/demo.toml", help="what `run` starts revproxy with")
    options = parser.parse_args(arguments)
    if options.command == "run":
        return serve_demo(options.ports, options.config)
    return serve_backends(options.ports)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
