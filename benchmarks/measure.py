"""How times are taken, so that a noisy machine does not decide: contenders in turn, compared round by round.

All run in one process, each once a round, after a warm-up of each. Between any two runs the bare evaluation is
timed as well, so that each run is judged by the speed the machine had around it. Ratios are taken within a
round, between neighbours in time, and only then the median over the rounds. Every round has another order, the
same in every call: a run inherits the allocator's state from the one before it, and at n = 10^6 whoever came
after pytorch-minimize was a tenth slower for it.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import median
from time import perf_counter
from types import ModuleType

from contender import REFERENCE
from tasks import Task

SECONDS_A_TASK = 60.0
ROUNDS = (5, 31)
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


class Counted:
    """An objective that counts its calls: nobody's own count has to be believed."""

    def __init__(self, fun: Callable):
        self.fun = fun
        self.calls = 0

    def __call__(self, leaves):
        """Evaluate and count."""
        self.calls += 1
        return self.fun(leaves)


def time_bare(bare: Callable[[], object]) -> float:
    """Median seconds of a bare evaluation, over at least three and a hundredth of a second."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < SECONDS_BARE:
        begin = perf_counter()
        bare()
        times.append(perf_counter() - begin)
    return median(times)


def sample(run: Callable, fun: Callable, start, maxiter: int, bare: Callable[[], object]) -> Sample:
    """Run one contender once."""
    gc.collect()
    before = time_bare(bare)
    counted = Counted(fun)
    begin = perf_counter()
    found = run(counted, start, maxiter)
    seconds = perf_counter() - begin
    after = time_bare(bare)
    return Sample(seconds, counted.calls, (before + after) / 2, fun(found).item())


def rounds_for(seconds_a_round: float) -> int:
    """As many rounds as fit into the time for a task, within reason."""
    fewest, most = ROUNDS
    return min(most, max(fewest, round(SECONDS_A_TASK / seconds_a_round)))


def measure(task: Task, framework: ModuleType, runs: dict[str, Callable], rounds: int | None) -> dict:
    """Run all contenders on a task in turn, and summarise."""
    fun, start = framework.objective(task), framework.start(task)
    bare = framework.bare(fun, start)

    shuffle = Random(0).sample

    def one_round() -> dict[str, Sample]:
        order = shuffle(list(runs), len(runs))
        return {name: sample(runs[name], fun, start, task.maxiter, bare) for name in order}

    begin = perf_counter()
    one_round()
    rounds = rounds or rounds_for(perf_counter() - begin)
    samples = [one_round() for _ in range(rounds)]
    return {
        "n": task.size,
        "leaves": task.leaves,
        "maxiter": task.maxiter,
        "rounds": rounds,
        "bare_seconds": median(each.bare for turn in samples for each in turn.values()),
        "contenders": {name: summary(name, samples) for name in runs},
    }


def summary(name: str, rounds: list[dict[str, Sample]]) -> dict:
    """Medians over the rounds of one contender's figures, and of its ratios to every other contender."""
    own = [turn[name] for turn in rounds]
    return {
        "seconds": median(each.seconds for each in own),
        "evaluations": int(median(each.evaluations for each in own)),
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
