"""The picture of one run or several shows what their histories hold, and says what is on its axes."""

import sys

import numpy as np
import pytest

from dmin_core import InputError, minimize

pytestmark = pytest.mark.numpy

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed, which plot() needs")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed, which plot() needs")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def run(method="L-BFGS-B", fun=rosenbrock, n=4, **given):
    return minimize(fun, np.full(n, -1.0), method=method, **given)


def lines(axis):
    """The lines with labels: (x, y) of each."""
    return {line.get_label(): line.get_data() for line in axis.lines if not line.get_label().startswith("_")}


def test_four_panels_show_value_and_gradient_by_evaluation_and_by_seconds():
    result = run()
    figure = result.plot()
    value, by_time, slope, slope_by_time = figure.axes
    history = result.history
    ((x, y),) = lines(value).values()
    np.testing.assert_array_equal(x, history.evaluation)
    np.testing.assert_array_equal(y, np.minimum.accumulate(history.fun))
    np.testing.assert_array_equal(next(iter(lines(by_time).values()))[0], history.seconds)
    ((x, y),) = lines(slope).values()
    np.testing.assert_array_equal(y, history.grad_norm)
    assert slope.get_xlabel() == "evaluations"
    assert slope_by_time.get_xlabel() == "seconds"
    assert slope.get_ylabel() == "norm of the gradient"
    assert slope.get_yscale() == "log"
    dots = value.lines[0]
    np.testing.assert_array_equal(dots.get_ydata(), history.fun)


def test_runs_without_gradients_have_the_value_alone():
    assert len(run("Nelder-Mead").plot().axes) == 2


def test_several_runs_are_told_apart_by_method():
    runs = [run(method) for method in ("L-BFGS-B", "CG", "Nelder-Mead")]
    figure = runs[0].plot(*runs[1:])
    assert list(lines(figure.axes[0])) == ["L-BFGS-B", "CG", "Nelder-Mead"]
    colours = {line.get_color() for line in figure.axes[0].lines}
    assert len(colours) == 3
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["L-BFGS-B", "CG", "Nelder-Mead"]


def test_runs_alike_are_numbered_and_labels_can_be_given():
    runs = [run(), run()]
    assert list(lines(runs[0].plot(runs[1]).axes[0])) == ["L-BFGS-B, numpy (1)", "L-BFGS-B, numpy (2)"]
    assert list(lines(runs[0].plot(runs[1], labels=["before", "after"]).axes[0])) == ["before", "after"]
    with pytest.raises(InputError, match="1 labels for 2 results"):
        runs[0].plot(runs[1], labels=["one"])


def test_runs_of_two_frameworks_are_told_apart_by_them():
    runs = [run(), run()]
    runs[1]["backend"] = "torch"
    assert list(lines(runs[0].plot(runs[1]).axes[0])) == ["numpy", "torch"]


SCALES = {
    "positive, many magnitudes": (rosenbrock, "log", "value"),
    "negative": (lambda x: rosenbrock(x) - 7, "log", "value above the lowest, -7"),
    "one magnitude": (lambda x: np.sum(x**2) + 100, "linear", "value"),
}


@pytest.mark.parametrize("kind", SCALES)
def test_the_axis_says_what_is_on_it(kind):
    fun, scale, name = SCALES[kind]
    axis = run(fun=fun).plot().axes[0]
    assert axis.get_yscale() == scale
    assert axis.get_ylabel() == name


def test_several_runs_are_measured_from_the_lowest_of_all():
    runs = [run(fun=lambda x: rosenbrock(x) - 7, options={"maxiter": k}) for k in (5, 200)]
    (_, y), (_, lower) = lines(runs[0].plot(runs[1]).axes[0]).values()
    np.testing.assert_allclose(np.nanmin(y), runs[0].fun - runs[1].fun)
    # The lowest itself has no place on such a scale.
    assert np.isnan(lower[-1])


def test_a_trial_far_up_does_not_squeeze_the_lines():
    result = run()
    result.history.fun[3] = 1e30
    assert result.plot().axes[0].get_ylim()[1] < 1e5


def test_values_that_are_not_finite_are_left_out():
    result = run()
    result.history.fun[2] = np.nan
    result.history.fun[4] = np.inf
    result.history.grad_norm[5] = np.nan
    figure = result.plot()
    figure.canvas.draw()
    ((_, y),) = lines(figure.axes[0]).values()
    assert np.isfinite(y).all()


def test_runs_of_very_different_length_have_a_logarithmic_axis():
    short, long = run(), run("Nelder-Mead", n=8, options={"maxiter": 5000})
    assert long.nfev > 30 * len(short.history)
    short.history.evaluation[:] = np.arange(len(short.history)) + 1
    figure = short.plot(long)
    assert figure.axes[0].get_xscale() == "log"


def test_it_draws_on_axes_that_are_given():
    result = run()
    figure, axis = plt.subplots()
    assert result.plot(ax=axis) is figure
    assert axis.get_xlabel() == "evaluations"
    figure, axes = plt.subplots(2, 2)
    assert result.plot(ax=axes) is figure
    assert axes[1, 1].get_xlabel() == "seconds"
    figure, axes = plt.subplots(1, 2)
    result.plot(ax=axes)
    assert axes[1].get_xlabel() == "seconds"
    _, axes = plt.subplots(1, 3)
    with pytest.raises(InputError, match="there are 3"):
        result.plot(ax=axes)


def test_a_history_of_one_evaluation_can_be_drawn():
    run(options={"maxfun": 1}, jac="3-point")
    figure = minimize(lambda x: (np.sum(x**2), 2 * x), np.ones(2), jac=True, options={"maxfun": 1}).plot()
    figure.canvas.draw()


def test_an_empty_history_is_an_error():
    result = run()
    result["history"] = result.history[:0]
    with pytest.raises(InputError, match="nothing to plot"):
        result.plot()


def test_a_copy_can_be_drawn_too():
    assert len(type(run())(dict(run())).plot().axes) == 4


def test_without_matplotlib_the_line_for_pip_is_said(monkeypatch):
    result = run()
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'dmin-core\[plot\]'"):
        result.plot()
