"""Runs in threads of their own: two that meet, so that what they share is shared for certain; one that may hang."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

Meet = Callable[[], None]


def at_once(runs: Sequence[Callable[[Meet], Any]], patience: float = 10.0) -> list[Any]:
    """What each ``run(meet)`` returns.

    A call of ``meet()`` waits until all others call theirs, one has ended, or so many seconds are over: from then on
    nobody waits any more.
    """
    all_of_them = threading.Barrier(len(runs), timeout=patience)

    def meet() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):  # another has ended, or cannot come
            all_of_them.wait()

    def to_its_end(run: Callable[[Meet], Any]) -> Any:
        try:
            return run(meet)
        finally:
            all_of_them.abort()

    with concurrent.futures.ThreadPoolExecutor(len(runs)) as pool:
        return list(pool.map(to_its_end, runs))


def around(fun: Callable[..., Any], meet: Meet) -> Callable[..., Any]:
    """``fun``, with a meeting before each call and one after."""

    def meets(*arguments: Any) -> Any:
        meet()
        value = fun(*arguments)
        meet()
        return value

    return meets


def within(seconds: float, run: Callable[[], Any]) -> tuple[Any] | None:
    """What ``run()`` returns, in a tuple; None where it has not returned after so many seconds."""
    outcome = concurrent.futures.Future[Any]()

    def work() -> None:
        try:
            outcome.set_result(run())
        except BaseException as error:  # noqa: BLE001 - it is raised by `result` below
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()  # one that hangs is no reason for the program not to end
    try:
        return (outcome.result(seconds),)
    except concurrent.futures.TimeoutError:
        return None
