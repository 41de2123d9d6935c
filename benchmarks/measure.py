"""How times are taken, so that a noisy machine does not decide: contenders in turn, compared round by round.

All run in one process, each once a round, after a warm-up of each. Between any two runs the bare evaluation is
timed as well, so that each run is judged by the speed the machine had around it. Ratios are taken within a
round, between neighbours in time, and only then the median over the rounds. Every round has another order, the
same in every call: a run inherits the allocator's state from the one before it, and at n = 10^6 whoever came
after pytorch-minimize was a tenth slower for it.

Evaluations are counted by the objective itself: nobody's own count has to be believed. Where objectives are
compiled that takes an operation of its own, which costs time; so it is done in a run apart. All are
deterministic, and make the same evaluations again when timed.

A first call, where a framework compiles, is timed on functions made anew, with one iteration: what the others
take is in the times of the warm runs.
"""

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from statistics import median
from time import perf_counter, process_time
from types import ModuleType

from contender import OURS, REFERENCE
from tasks import Task

CLOCKS = {"wall": perf_counter, "cpu": process_time}
SECONDS_A_TASK = 60.0
ROUNDS = (5, 31)
FIRST_ROUNDS = 5
SECONDS_BARE = 0.01


@dataclass
class Sample:
    """One run: its seconds, its evaluations, and the bare evaluation's seconds around it."""

    seconds: float
    evaluations: int
    bare: float
    fun: float

    @property
    def each(self) -> float:
        """Seconds an evaluation."""
        return self.seconds / self.evaluations


def time_bare(clock: Callable[[], float], bare: Callable[[], object]) -> float:
    """Median seconds of a bare evaluation, over at least three and a hundredth of a second."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < SECONDS_BARE:
        begin = clock()
        bare()
        times.append(clock() - begin)
    return median(times)


def timed(clock: Callable[[], float], framework: ModuleType, run: Callable, *arguments) -> tuple[float, object]:
    """Seconds of one run, and what it found."""
    begin = clock()
    found = run(*arguments)
    framework.wait(found)
    return clock() - begin, found


def measure(task: Task, framework: ModuleType, runs: dict[str, Callable], rounds: int | None, clock_name: str) -> dict:
    """Run all contenders on a task in turn, and summarise."""
    clock = CLOCKS[clock_name]
    fun, start = framework.objective(task), framework.start(task)
    bare = framework.bare(fun, start)
    shuffle = Random(0).sample
    evaluations = {name: count(task, framework, run, start) for name, run in runs.items()}

    def sample(name: str) -> Sample:
        gc.collect()
        before = time_bare(clock, bare)
        seconds, found = timed(clock, framework, runs[name], fun, start, task.maxiter)
        after = time_bare(clock, bare)
        return Sample(seconds, evaluations[name], (before + after) / 2, framework.value(fun, found))

    def one_round() -> dict[str, Sample]:
        return {name: sample(name) for name in shuffle(list(runs), len(runs))}

    if framework.COMPILES:
        one_round()  # elsewhere counting was warm-up enough
    samples = list(take_rounds(one_round, rounds))
    return {
        "n": task.size,
        "leaves": task.leaves,
        "maxiter": task.maxiter,
        "rounds": len(samples),
        "bare_seconds": median(each.bare for turn in samples for each in turn.values()),
        "contenders": {name: summary(name, samples) for name in runs},
        "first": first_beside_reference(clock, task, framework, runs),
    }


def count(task: Task, framework: ModuleType, run: Callable, start) -> int:
    """Evaluations of one contender's run."""
    counted = framework.Counted(framework.objective(task))
    run(counted, start, task.maxiter)
    return counted.calls


def take_rounds(one_round: Callable[[], dict], rounds: int | None) -> Iterator[dict]:
    """So many rounds, or else as many as fit into the time for a task, within reason."""
    fewest, most = (rounds, rounds) if rounds else ROUNDS
    begin = perf_counter()
    for taken in range(most):
        if taken >= fewest and perf_counter() - begin > SECONDS_A_TASK:
            return
        yield one_round()


def first_calls(
    clock: Callable[[], float], task: Task, framework: ModuleType, runs: dict[str, Callable], rounds: int = FIRST_ROUNDS
) -> list[dict[str, float]]:
    """Seconds of first calls by contender, round by round, every other round in the opposite order."""
    start = framework.start(task)

    def seconds(name: str) -> float:
        gc.collect()
        return timed(clock, framework, runs[name], framework.objective(task), start, 1)[0]

    orders = [list(runs), list(reversed(runs))]
    return [{name: seconds(name) for name in orders[k % 2]} for k in range(rounds)]


def first_beside_reference(
    clock: Callable[[], float], task: Task, framework: ModuleType, runs: dict[str, Callable]
) -> dict[str, float] | None:
    """Seconds of a first call, ours and by hand, and the median of their ratios within each round."""
    if not framework.COMPILES or not {OURS, REFERENCE} <= runs.keys():
        return None
    rounds = first_calls(clock, task, framework, {name: runs[name] for name in (OURS, REFERENCE)})
    return {
        OURS: median(turn[OURS] for turn in rounds),
        REFERENCE: median(turn[REFERENCE] for turn in rounds),
        "ratio": median(turn[OURS] / turn[REFERENCE] for turn in rounds),
    }


def summary(name: str, rounds: list[dict[str, Sample]]) -> dict:
    """Medians over the rounds of one contender's figures, and of its ratios to every other contender."""
    own = [turn[name] for turn in rounds]
    return {
        "seconds": median(each.seconds for each in own),
        "evaluations": own[-1].evaluations,
        "seconds_an_evaluation": median(each.each for each in own),
        "x_limit": median(each.each / each.bare for each in own),
        "fun": own[-1].fun,
        "ratios": {other: ratios(name, other, rounds) for other in rounds[0]},
    }


def ratios(name: str, other: str, rounds: list[dict[str, Sample]]) -> dict[str, float]:
    """One contender's time over another's, per evaluation and in all: median and lower quartile over rounds."""
    each = sorted(turn[name].each / turn[other].each for turn in rounds)
    in_all = sorted(turn[name].seconds / turn[other].seconds for turn in rounds)
    low = len(rounds) // 4
    return {
        "an_evaluation": median(each),
        "an_evaluation_low": each[low],
        "in_all": median(in_all),
        "in_all_low": in_all[low],
    }


def to_reference(figures: dict) -> dict[str, float | None]:
    """A contender's ratios to the hand-written version; None where that did not take part."""
    return figures["ratios"].get(REFERENCE, {"an_evaluation": None, "in_all": None})
