"""How long `import dmin_core` takes beside importing what it needs at least: numpy, optree and pluggy.

    python benchmarks/import_time.py            # 21 fresh processes each, in turn
    python benchmarks/import_time.py --check    # fails above 1.5 times

Timed inside each process, so that starting Python itself does not count and hide a slow import.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

LIMIT = 1.5
STATEMENTS = ("import numpy, optree, pluggy", "import dmin_core")
# Without '' on the path, which in a checkout's root would find the tree before what is installed.
TIMED = """
import sys, time
sys.path[:] = filter(None, sys.path)
begin = time.perf_counter()
{}
print(time.perf_counter() - begin)
"""


def arguments() -> argparse.Namespace:
    """The command line."""
    verbatim = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=verbatim)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--check", action="store_true", help="exit with 1 if the limit is exceeded")
    return parser.parse_args()


def seconds(statement: str) -> float:
    """Seconds that a statement takes in a fresh process."""
    command = [sys.executable, "-c", TIMED.format(statement)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> int:
    """Measure, print, write, check."""
    options = arguments()
    for statement in STATEMENTS:
        seconds(statement)  # the first import writes byte code
    rounds = [tuple(seconds(statement) for statement in STATEMENTS) for _ in range(options.rounds)]
    needed, ours = (median(column) for column in zip(*rounds, strict=True))
    ratio = median(ours / needed for needed, ours in rounds)
    for statement, time in zip(STATEMENTS, (needed, ours), strict=True):
        print(f"{statement:30}{1e3 * time:8.1f} ms")
    print(f"{'ratio':30}{ratio:8.3f}    median of {options.rounds} paired rounds")
    if options.json:
        options.json.write_text(json.dumps({"needed": needed, "ours": ours, "ratio": ratio}, indent=1) + "\n")
    if options.check:
        print(f"{'The limit is kept' if ratio <= LIMIT else 'FAILED'}: at most {LIMIT} times.")
    return int(options.check and ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
