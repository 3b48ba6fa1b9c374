"""``revproxy`` as the demo starts it: out of reach of Ctrl-C, and ending with its parent.

Standard input is a pipe that the parent never writes to; it ends when the parent is gone,
however it went.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _end_with_parent() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Run revproxy's command line with this process's arguments; return the exit status."""
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from importlib import import_module

    sys.argv[0] = "revproxy"
    status = import_module("revproxy.cli").main()
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())
