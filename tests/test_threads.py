"""BLAS has one thread in the solver's arithmetic, and the user's setting in the user's function."""

import threading

import numpy as np
import pytest

from dmin_core import _threads, minimize

pytestmark = pytest.mark.numpy


class Library:
    """Stands in for a BLAS: a number of threads, and what it has been set to."""

    def __init__(self, threads):
        self.threads, self.settings = threads, []

    def get_num_threads(self):
        return self.threads

    def set_num_threads(self, threads):
        self.threads = threads
        self.settings.append(threads)


@pytest.fixture
def library(monkeypatch):
    library = Library(4)
    monkeypatch.setattr(_threads, "_libraries", lambda: (library,))
    return library


def quadratic(x):
    return np.sum((x - 1.0) ** 2)


def test_the_solver_has_one_thread_and_fun_the_users(library):
    in_fun, in_solver = [], []

    def fun(x):
        in_fun.append(library.threads)
        return quadratic(x)

    def method(fun, x0, args, **options):
        in_solver.append(library.threads)
        fun(x0)
        in_solver.append(library.threads)
        return {"x": x0, "success": True}

    minimize(fun, np.zeros(2), method=method)
    assert (set(in_fun), set(in_solver)) == ({4}, {1})
    assert library.threads == 4


def test_callbacks_and_gradients_have_the_users_threads(library):
    seen = []

    def jac(x):
        seen.append(library.threads)
        return 2.0 * (x - 1.0)

    minimize(quadratic, np.zeros(2), jac=jac, callback=lambda x: seen.append(library.threads))
    assert len(seen) > 2
    assert set(seen) == {4}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_the_setting_is_given_back_after(library, error):
    def fail(x):
        raise error

    with pytest.raises(error):
        minimize(fail, np.zeros(2))
    assert library.threads == 4


def test_the_setting_is_given_back_after_a_stop(library):
    minimize(quadratic, np.zeros(2), options={"maxfun": 1})
    assert library.threads == 4


def test_a_minimize_within_fun_gives_back_what_it_found(library):
    seen = []

    def outer(x):
        minimize(quadratic, np.zeros(1))
        seen.append(library.threads)
        return quadratic(x)

    minimize(outer, np.zeros(2))
    assert set(seen) == {4}
    assert library.threads == 4


def test_where_everything_has_one_thread_nothing_is_set(library):
    library.threads = 1
    minimize(quadratic, np.zeros(2))
    assert library.settings == []


def test_the_limit_holds_while_any_solver_runs(library):
    """Two solvers in two threads: the first to end must not give the threads back under the second."""
    first, second = _threads.SingleThreadedBlas(), _threads.SingleThreadedBlas()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert library.threads == 1
    second.__exit__(None, None, None)
    assert library.threads == 4


def test_threads_can_minimise_at_once():
    answers = {}

    def work(target):
        answers[target] = minimize(lambda x: np.sum((x - target) ** 2), np.zeros(3) - 1.0).x

    threads = [threading.Thread(target=work, args=(float(k),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [0.0, 1.0, 2.0, 3.0]
    for target, x in answers.items():
        np.testing.assert_allclose(x, target, atol=1e-5)


def test_the_process_is_left_as_it_was():
    from threadpoolctl import threadpool_info

    before = [(info["filepath"], info["num_threads"]) for info in threadpool_info()]
    minimize(quadratic, np.zeros(2))
    assert [(info["filepath"], info["num_threads"]) for info in threadpool_info()] == before
