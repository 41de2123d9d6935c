"""The tables that people read."""

from statistics import median

from contender import OURS, REFERENCE
from measure import to_reference

COLUMNS = ("", "ms", "evaluations", "µs each", "x-limit", "each / by hand", "ms / by hand", "f")


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns padded to their widest entry, the first to the left, the rest to the right."""
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))

    def line(name: str, *cells: str) -> str:
        return "  ".join([name.ljust(first), *map(str.rjust, cells, widths)])

    return "\n".join(line(*row) for row in rows)


def left_out(reasons: dict[str, str]) -> str:
    """A line for each contender that is not installed."""
    return "".join(f"Left out: {name} ({reason})\n" for name, reason in reasons.items())


def task_report(name: str, task: dict) -> str:
    """One task's heading and table."""
    heading = (
        f"{name}: n = {task['n']:,} in {task['leaves']} leaves, at most {task['maxiter']} iterations; "
        f"a bare evaluation {1e6 * task['bare_seconds']:,.0f} µs; medians of {task['rounds']} rounds"
    )
    rows = [contender_row(contender, figures) for contender, figures in task["contenders"].items()]
    return f"{heading}\n{table([COLUMNS, *rows])}\n{first_report(task['first'])}"


def first_report(first: dict[str, float] | None) -> str:
    """A line on first calls, where there was something to compile."""
    if first is None:
        return ""
    ours, by_hand = (f"{name} {1e3 * first[name]:,.0f} ms" for name in (OURS, REFERENCE))
    return f"first call, one iteration: {ours}, {by_hand}, ratio {first['ratio']:.3f}\n"


def first_table(turns: list[dict[str, float]]) -> str:
    """What is said of the first calls of several contenders."""
    medians = {name: median(turn[name] for turn in turns) for name in turns[0]}
    said = ", ".join(f"{name} {1e3 * seconds:,.0f} ms" for name, seconds in medians.items())
    return f"first call, one iteration, median of {len(turns)}: {said}"


def contender_row(name: str, figures: dict) -> tuple[str, ...]:
    """One contender's line."""
    by_hand = to_reference(figures)
    return (
        name,
        f"{1e3 * figures['seconds']:,.1f}",
        str(figures["evaluations"]),
        f"{1e6 * figures['seconds_an_evaluation']:,.0f}",
        f"{figures['x_limit']:.2f}",
        ratio(by_hand["an_evaluation"]),
        ratio(by_hand["in_all"]),
        f"{figures['fun']:.8g}",
    )


def ratio(value: float | None) -> str:
    """A ratio, or a dash where there is nothing to compare with."""
    return "-" if value is None else f"{value:.3f}"


def thread_report(figures: dict, pairs: int) -> str:
    """Default threads against one thread."""
    columns = ("", "one", "default", "default / one", f"beside {figures['control']}")
    rows = [
        (
            f"{name}, {task}",
            *(f"{1e3 * each[key]:,.1f}" for key in ("one", "default")),
            *(f"{each[key]:.3f}" for key in ("ratio", "beside_control")),
        )
        for name, tasks in figures["contenders"].items()
        for task, each in tasks.items()
    ]
    heading = f"Milliseconds with one thread and with a user's default; medians of {pairs} pairs of processes"
    return f"{heading}\n{table([columns, *rows])}\n"
