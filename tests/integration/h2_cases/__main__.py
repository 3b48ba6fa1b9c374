"""Ask a server every case, and say what it did otherwise."""

from __future__ import annotations

import argparse
import sys
import time

from tests.integration.h2_cases import ALL, Disagrees, Unfit, ask
from tests.integration.h2peer import Server


def main() -> int:
    """Return 0 when the server passed everything that it could be asked."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.h2_cases", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--path", default="/", help="one that is answered with 5 bytes or more; default: /")
    parser.add_argument("--only", default="", help="the beginning of cases' numbers")
    parser.add_argument("--patience", type=float, default=2.0, help="seconds to wait for a frame; default: 2")
    parser.add_argument("--verbose", action="store_true", help="name the cases that passed, too")
    options = parser.parse_args()
    server = Server(options.host, options.port, options.tls, options.path)
    counts: dict[str, list[int]] = {}
    began = time.monotonic()
    for case in ALL:
        if not case.number.startswith(options.only):
            continue
        group = "strict" if case.strict else case.number.partition("/")[0]
        count = counts.setdefault(group, [0, 0, 0])
        start = time.monotonic()
        try:
            ask(case, server, options.patience)
        except Disagrees as error:
            count[2] += 1
            print(f"FAILED  {case.number} {case.text}\n        {error}")
        except Unfit as error:
            count[1] += 1
            print(f"skipped {case.number} {case.text}: {error}")
        else:
            count[0] += 1
            if options.verbose:
                print(f"passed  {case.number} {case.text} ({time.monotonic() - start:.3f} s)")
    for group, (good, unfit, bad) in counts.items():
        print(f"{group}: {good} passed, {unfit} skipped, {bad} failed")
    h2spec = [
        sum(column) for column in zip(*(counts[g] for g in counts if g not in ("strict", "rfc9113")), strict=True)
    ]
    if h2spec:
        print("h2spec's {}: {} passed, {} skipped, {} failed".format(sum(h2spec), *h2spec))
    print(f"{time.monotonic() - began:.1f} s")
    return 1 if any(bad for _, _, bad in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
