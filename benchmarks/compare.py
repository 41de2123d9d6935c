"""How fast `minimize` is beside what a careful user writes by hand and beside its peers.

    pip install dict-minimize pytorch-minimize autograd-minimize botorch jaxopt scikit-learn
    pip install --no-deps tensorflow-probability tf-keras dm-tree cloudpickle decorator   # beside tensorflow-cpu
    python benchmarks/compare.py                       # all tasks, one process, one thread
    python benchmarks/compare.py --framework jax       # or tf, or torch, which is the default
    python benchmarks/compare.py --tasks rosen10,mlp --contenders dmin,hand-written --rounds 11
    python benchmarks/compare.py --check               # fails, naming what fails, if a limit is exceeded
    python benchmarks/compare.py --clock cpu           # the process's own time, where the machine does other work
    python benchmarks/compare.py --framework tf --first --contenders device-lbfgs,tfp.lbfgs     # first calls alone
    python benchmarks/compare.py --threads default     # one thread against a user's default, small tasks

The last, for torch alone, runs each setting in processes of its own, in turn, since threads are settled at
import; `--threads keep` takes the environment as it is. Peers that are not installed are named and left out.

`µs each` is the time an evaluation; `x-limit` divides it by a bare value and gradient of the same objective
in the same framework, timed around each run; `each / by hand` and `ms / by hand` are ratios to the
hand-written version, per evaluation and in all, as medians of the ratios within each round. Where the framework
compiles, a first call is compared too.
"""

import argparse
import importlib
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import threads

PEERS = ("dict-minimize", "autograd-minimize", "botorch", "pytorch-minimize", "jaxopt", "tensorflow-probability")
VERSIONS = ("dmin-core", "numpy", "scipy", "torch", "jax", "tensorflow", "tensorflow-cpu", *PEERS)
PAIRS = 3


def arguments() -> argparse.Namespace:
    """The command line."""
    verbatim = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=verbatim)
    parser.add_argument("--framework", choices=threads.FRAMEWORKS, default="torch")
    parser.add_argument("--tasks", metavar="A,B", help="only these tasks")
    parser.add_argument("--contenders", metavar="A,B", help="only these contenders")
    parser.add_argument("--rounds", type=int, help="rounds a task, or pairs of processes")
    parser.add_argument("--first", action="store_true", help="time first calls, with one iteration, and nothing else")
    parser.add_argument("--threads", default="1", metavar="N", help="a number, `keep` or `default`")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--check", action="store_true", help="exit with 1 and name what fails")
    options = parser.parse_args()
    if options.threads == "default" and options.framework not in threads.CONTROLS:
        parser.error(f"--threads default is for {', '.join(threads.CONTROLS)}: others have no control here")
    return options


def chosen(names: str | None, known: tuple[str, ...]) -> list[str]:
    """The names asked for, in the order in which they are known; all where none are asked for."""
    wanted = names.split(",") if names else list(known)
    if unknown := [name for name in wanted if name not in known]:
        sys.exit(f"No such name: {', '.join(unknown)}. There are {', '.join(known)}.")
    return [name for name in known if name in wanted]


def installed() -> dict[str, str]:
    """The versions that the figures depend on."""
    found = {}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def contest(options: argparse.Namespace) -> tuple[dict, list[str]]:
    """Measure the contenders on the tasks in this process; the figures, and the limits exceeded."""
    if options.threads != "keep":
        threads.limit(int(options.threads))
    import contender
    import limits
    import measure
    import report
    import tasks

    objectives = importlib.import_module(f"{options.framework}_objectives")
    everyone = importlib.import_module(f"{options.framework}_contenders").CONTENDERS
    if options.threads != "keep":
        objectives.limit_threads(int(options.threads))
    names = chosen(options.contenders, tuple(each.name for each in everyone))
    runs, left_out = contender.load_all(each for each in everyone if each.name in names)
    print(report.left_out(left_out), end="")
    measured: dict[str, dict] = {}
    for name in chosen(options.tasks, tuple(tasks.TASKS)):
        if options.first:
            clock, rounds = measure.CLOCKS[options.clock], options.rounds or measure.FIRST_ROUNDS
            turns = measure.first_calls(clock, tasks.TASKS[name], objectives, runs, rounds)
            print(f"{name}: {report.first_table(turns)}", flush=True)
            continue
        measured[name] = measure.measure(tasks.TASKS[name], objectives, runs, options.rounds, options.clock)
        print(report.task_report(name, measured[name]), flush=True)
    scipy_driven = [each.name for each in everyone if each.drives_scipy]
    figures = {"tasks": measured, "scipy_driven": scipy_driven, "left_out": left_out}
    print("".join(f"NOTED {note}\n" for note in limits.notes(figures)), end="")
    return figures, limits.failures(figures)


def thread_contest(options: argparse.Namespace) -> tuple[dict, list[str]]:
    """Compare default threads with one thread; the figures, and the limits exceeded."""
    import limits
    import report
    import tasks
    from contender import OURS, REFERENCE

    names = chosen(options.tasks, tasks.SMALL)
    contenders = options.contenders.split(",") if options.contenders else [OURS, REFERENCE]
    pairs = options.rounds or PAIRS
    print("Threads are settled at import, so each setting runs in processes of its own, in turn.")
    figures = threads.compare(options.framework, names, contenders, pairs)
    print(report.left_out(figures["left_out"]), report.thread_report(figures, pairs), sep="")
    return {"threads_compared": figures}, limits.thread_failures(figures["contenders"])


def main() -> int:
    """Measure, print, write, check."""
    options = arguments()
    figures, failures = thread_contest(options) if options.threads == "default" else contest(options)
    if options.json:
        figures |= {"python": platform.python_version(), "machine": platform.machine()}
        figures |= {"versions": installed(), "threads": options.threads, "clock": options.clock, "failures": failures}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.check:
        print("\n".join(f"FAILED {failure}" for failure in failures) or "Every limit is kept.")
    return int(options.check and bool(failures))


if __name__ == "__main__":
    sys.exit(main())
