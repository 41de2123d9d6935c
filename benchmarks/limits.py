"""What the figures must show, and which of them do not."""

from contender import OURS, REFERENCE

OVER_HAND_WRITTEN = 1.10
OVER_ONE_THREAD = 1.10
# Neighbouring runs of one and the same code differ by this much on a shared machine.
NOISE = 1.05


def failures(figures: dict) -> list[str]:
    """Every limit that the figures of `compare.py` exceed, in words."""
    scipy_driven = set(figures["scipy_driven"])
    return [
        f"{name}: {failure}"
        for name, task in figures["tasks"].items()
        for failure in task_failures(task["contenders"], scipy_driven)
    ]


def task_failures(contenders: dict, scipy_driven: set[str]) -> list[str]:
    """The limits exceeded on one task."""
    missing = [name for name in (OURS, REFERENCE) if name not in contenders]
    if missing:
        return [f"{name} did not take part" for name in missing]
    peers = [name for name in contenders if name not in (OURS, REFERENCE)]
    found = [against_hand_written(contenders), same_evaluations(contenders)]
    found += [against_peer(contenders, peer, peer in scipy_driven) for peer in peers]
    return [failure for failure in found if failure]


def against_hand_written(contenders: dict) -> str | None:
    """The time an evaluation, over the hand-written version's."""
    ratio = contenders[OURS]["ratios"][REFERENCE]["an_evaluation"]
    if ratio > OVER_HAND_WRITTEN:
        return f"{ratio:.3f} of the hand-written time an evaluation; the limit is {OVER_HAND_WRITTEN:.2f}"
    return None


def same_evaluations(contenders: dict) -> str | None:
    """Nothing computed twice, nothing left out."""
    ours, reference = (contenders[name]["evaluations"] for name in (OURS, REFERENCE))
    return None if ours == reference else f"{ours} evaluations; hand-written: {reference}"


def against_peer(contenders: dict, peer: str, drives_scipy: bool) -> str | None:
    """Time an evaluation where the peer makes SciPy's evaluations, else time in all.

    Behind means by more than noise in the median, and behind at all in three rounds of four.
    Where the hand-written version is as far behind, the cause is SciPy's solver: so its ratio is told too.
    """
    kind, words = ("an_evaluation", "an evaluation") if drives_scipy else ("in_all", "in all")
    ours, by_hand = (contenders[name]["ratios"][peer][kind] for name in (OURS, REFERENCE))
    if ours > NOISE and contenders[OURS]["ratios"][peer][f"{kind}_low"] > 1.0:
        return f"behind {peer}: {ours:.3f} of its time {words} (hand-written: {by_hand:.3f})"
    return None


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
