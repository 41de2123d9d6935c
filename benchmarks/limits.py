"""What the figures must show, and which of them do not.

Never behind a peer: that is asked against the peers that drive SciPy's L-BFGS-B as this project does, evaluation
for evaluation. torch.optim.LBFGS and pytorch-minimize run solvers of their own, on the device and without SciPy's
work on the host between evaluations, which at n = 10^5 and more takes longer than the evaluation; whoever calls
SciPy is behind them there, and only a solver on the device can be ahead. So where they are ahead it is noted, with
the hand-written version's own ratio beside it, and fails nothing.
"""

from contender import OURS, REFERENCE

OVER_HAND_WRITTEN = 1.10
FIRST_OVER_HAND_WRITTEN = 1.30
OVER_ONE_THREAD = 1.10
# Neighbouring runs of one and the same code differ by this much on a shared machine.
NOISE = 1.05


def failures(figures: dict) -> list[str]:
    """Every limit that the figures of `compare.py` exceed, in words."""
    scipy_driven = set(figures["scipy_driven"])
    return [
        f"{name}: {failure}" for name, task in figures["tasks"].items() for failure in task_failures(task, scipy_driven)
    ]


def notes(figures: dict) -> list[str]:
    """Where peers with solvers of their own are ahead."""
    scipy_driven = set(figures["scipy_driven"])
    return [
        f"{name}: {note}"
        for name, task in figures["tasks"].items()
        for peer in task["contenders"]
        if peer not in scipy_driven and {OURS, REFERENCE} <= task["contenders"].keys()
        for note in behind(task["contenders"], peer, "in_all")
    ]


def task_failures(task: dict, scipy_driven: set[str]) -> list[str]:
    """The limits exceeded on one task."""
    contenders = task["contenders"]
    missing = [name for name in (OURS, REFERENCE) if name not in contenders]
    if missing:
        return [f"{name} did not take part" for name in missing]
    found = [*against_hand_written(contenders), *same_evaluations(contenders), *first_call(task["first"])]
    for peer in contenders:
        if peer in scipy_driven - {OURS, REFERENCE}:
            found += behind(contenders, peer, "an_evaluation")
    return found


def against_hand_written(contenders: dict) -> list[str]:
    """The time an evaluation, over the hand-written version's."""
    ratio = contenders[OURS]["ratios"][REFERENCE]["an_evaluation"]
    if ratio > OVER_HAND_WRITTEN:
        return [f"{ratio:.3f} of the hand-written time an evaluation; the limit is {OVER_HAND_WRITTEN:.2f}"]
    return []


def same_evaluations(contenders: dict) -> list[str]:
    """Nothing computed twice, nothing left out."""
    ours, reference = (contenders[name]["evaluations"] for name in (OURS, REFERENCE))
    return [] if ours == reference else [f"{ours} evaluations; hand-written: {reference}"]


def first_call(first: dict[str, float] | None) -> list[str]:
    """The time of a first call, where there is something to compile, over the hand-written version's."""
    if first is None or first["ratio"] <= FIRST_OVER_HAND_WRITTEN:
        return []
    return [f"{first['ratio']:.3f} of the hand-written first call; the limit is {FIRST_OVER_HAND_WRITTEN:.2f}"]


def behind(contenders: dict, peer: str, kind: str) -> list[str]:
    """By more than noise in the median, and at all in three rounds of four; ``kind`` is of `measure.ratios`."""
    ours, by_hand = (contenders[name]["ratios"][peer][kind] for name in (OURS, REFERENCE))
    if ours > NOISE and contenders[OURS]["ratios"][peer][f"{kind}_low"] > 1.0:
        return [f"behind {peer}: {ours:.3f} of its time {kind.replace('_', ' ')} (hand-written: {by_hand:.3f})"]
    return []


def thread_failures(contenders: dict) -> list[str]:
    """Tasks on which a user's default threads slow this project down, and more than they slow the control."""
    if OURS not in contenders:
        return [f"{OURS} did not take part"]
    return [
        f"{task}: default threads take {figures['ratio']:.3f} of the time of one thread, "
        f"{figures['beside_control']:.3f} beside the control"
        for task, figures in contenders[OURS].items()
        if min(figures["ratio"], figures["beside_control"]) > OVER_ONE_THREAD
    ]
