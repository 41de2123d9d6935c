"""Calibrate a real classifier in three ways, and race dmin's default against SGD and Adam on the same objectives.

Naive Bayes tells odd from even handwritten digits, far too sure of itself. Temperature, Platt and beta calibration
learn on a hold-out set which probability a score stands for; log-loss and expected calibration error on a third set,
which nothing was fitted on, say whether it helped. The calibrators are those of ../calibration_library, as they are.

SGD and Adam minimise the same function from the same start, on the whole hold-out set at each step. They are given to
`minimize` as methods (any callable with SciPy's signature is one), so that gradients, counts and histories are had in
the same way. Both get every step size of a sweep, and the best of them for each objective is what is shown: nobody who
fits a calibrator would do that, so the comparison favours them.

References: Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern neural networks", ICML, for the expected
calibration error. Kingma & Ba (2015), "Adam: a method for stochastic optimization", ICLR, algorithm 1.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy.optimize import OptimizeResult
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import BernoulliNB

from dmin_core import get_backend, minimize

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "calibration_library"))

from calibrators import BetaCalibration, PlattScaling, TemperatureScaling  # noqa: E402  its folder comes first

CALIBRATORS = {"temperature": TemperatureScaling, "Platt": PlattScaling, "beta": BetaCalibration}
RATES = {"SGD": np.logspace(-5, 1, 25), "Adam": np.logspace(-3, 1, 17)}  # four to a decade, the best well inside
CLOSE = 1e-6
"""How near to the least log-loss counts as done."""
USABLE = 1e-3
"""How near to it would still be of use: the test set's log-loss moves by more from split to split."""
BINS = 10


# SGD and Adam as methods of `minimize` ---------------------------------------------------------------------


def descend(step, fun, x0, jac, bounds, steps, **_):
    """``x + step(gradient)``, moved onto the bounds, at ``steps`` gradients."""
    x = x0
    for _ in range(steps):
        value = fun(x)
        x = x + step(jac(x))
        if bounds is not None:
            x = np.clip(x, bounds.lb, bounds.ub)
    return OptimizeResult(x=x, fun=value, nit=steps, success=True, message="All steps were taken.")


def sgd(fun, x0, args=(), *, rate, **given):
    return descend(lambda gradient: -rate * gradient, fun, x0, **given)


def adam(fun, x0, args=(), *, rate, **given):
    mean, square, count = np.zeros_like(x0), np.zeros_like(x0), 0

    def step(gradient):
        nonlocal mean, square, count
        count += 1
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        return -rate * (mean / (1 - 0.9**count)) / (np.sqrt(square / (1 - 0.999**count)) + 1e-8)

    return descend(step, fun, x0, **given)


OTHERS = {"SGD": sgd, "Adam": adam}


# Data and measures -----------------------------------------------------------------------------------------


def scored_sets(split):
    """Train on 40 % of the digits; return (scores, labels) of 400 held-out ones and of all others."""
    pixels, digit = load_digits(return_X_y=True)
    odd = digit % 2
    train, rest, odd_train, odd_rest = train_test_split(pixels, odd, train_size=0.4, stratify=odd, random_state=split)
    log_p = BernoulliNB(binarize=8).fit(train, odd_train).predict_joint_log_proba(rest)
    scores = log_p[:, 1] - log_p[:, 0]
    sets = train_test_split(scores, odd_rest.astype(float), train_size=400, stratify=odd_rest, random_state=split)
    return tuple(sets[0::2]), tuple(sets[1::2])


def log_loss(z, labels):
    """Mean negative log-likelihood of the labels, from log-odds."""
    return float(np.mean(np.logaddexp(0, z) - labels * z))


def reliability(z, labels):
    """Mean probability, share of class 1 and size of each bin; the bins hold as many each."""
    p = 1 / (1 + np.exp(-z))
    bins = np.array_split(np.argsort(p, kind="stable"), BINS)
    return np.array([(p[i].mean(), labels[i].mean(), len(i)) for i in bins]).T


def calibration_error(z, labels):
    expected, observed, size = reliability(z, labels)
    return float(np.sum(size * np.abs(expected - observed)) / np.sum(size))


# The race --------------------------------------------------------------------------------------------------


def values(result):
    """The least value of `fun` after 1, 2, … evaluations with a gradient."""
    rows = result.history[np.isfinite(result.history["grad_norm"])]
    return np.minimum.accumulate(rows["fun"])


def race(calibrator, scores, labels, steps):
    """Values by evaluations; how many evaluations dmin took; what the others' rates all reached in as many."""
    kind = type(calibrator)
    one = 0 * scores[0] + 1  # an array of the scores' framework and dtype
    start = {name: value * one for name, value in kind.start.items()}
    problem = {"x0": start, "args": (scores, calibrator.targets(labels)), "bounds": kind.bounds}
    curves = {"dmin": values(calibrator.result)}
    budget, ends = len(curves["dmin"]), {}
    for name, method in OTHERS.items():
        runs = [
            values(minimize(kind.loss, **problem, method=method, options={"rate": rate, "steps": steps}))
            for rate in RATES[name]
        ]
        ends[name] = np.array([run[budget - 1] for run in runs])
        curves[name] = runs[np.argmin(ends[name])]
        # Which rate is best depends on how long one goes on, so each gets its own for the long run.
        curves[f"{name}, long"] = min(runs, key=lambda run: (evaluations_to(run, min(map(np.min, runs))), run[-1]))
    return curves, budget, ends


def evaluations_to(curve, level):
    """How many evaluations until within `CLOSE` of ``level``; infinity if never."""
    below = np.flatnonzero(curve <= level + CLOSE)
    return float(below[0] + 1) if below.size else np.inf


# The whole -------------------------------------------------------------------------------------------------


def measure(backend, splits, steps):
    """The figures of every calibrator on every split, and what the picture of the first split needs."""
    figures = {name: [] for name in CALIBRATORS}
    picture = {}
    # `like` is None: the framework's default device, and the dtype as it is.
    convert = get_backend(backend).from_numpy
    for split in range(splits):
        holdout, (scores, labels) = scored_sets(split)
        inside = [convert(array, None) for array in holdout]
        for name, kind in CALIBRATORS.items():
            began = time.perf_counter()
            calibrator = kind().fit(*inside)
            seconds = time.perf_counter() - began
            params = {key: float(value) for key, value in calibrator.params.items()}
            z = np.asarray(kind.corrected(params, scores))
            curves, budget, ends = race(calibrator, *inside, steps if split == 0 else budget_of(calibrator))
            least = min(curve.min() for curve in curves.values())
            figures[name].append(
                {
                    "log-loss": (log_loss(scores, labels), log_loss(z, labels)),
                    "ECE": (calibration_error(scores, labels), calibration_error(z, labels)),
                    "excess": {who: curve[budget - 1] - least for who, curve in curves.items() if "long" not in who},
                    "evaluations": budget,
                    "usable": {who: int(np.sum(end <= least + USABLE)) for who, end in ends.items()},
                    "to within": {
                        who.removesuffix(", long"): evaluations_to(curve, least)
                        for who, curve in curves.items()
                        if who == "dmin" or "long" in who
                    },
                    "seconds": seconds,
                }
            )
            if split == 0:
                picture[name] = (z, curves, least)
                picture["uncalibrated"] = (scores, labels)
    return figures, picture


def budget_of(calibrator):
    return len(values(calibrator.result))


def report(figures, steps):
    splits = len(next(iter(figures.values())))
    print(f"On the test set, median of {splits} splits (less is better):")
    print(f"{'':14}{'log-loss':>20}{'ECE':>20}")
    print(f"{'':14}{'before':>10}{'after':>10}{'before':>10}{'after':>10}")
    for name, rows in figures.items():
        cells = np.median([[*row["log-loss"], *row["ECE"]] for row in rows], axis=0)
        print(f"{name:14}" + "".join(f"{cell:10.4f}" for cell in cells))
    print("\nLog-loss on the hold-out set above its least, at as many gradients as dmin took, median over splits;")
    print(
        "SGD and Adam with the best of", " and ".join(str(len(RATES[name])) for name in OTHERS), "step sizes each time:"
    )
    print(f"{'':14}{'gradients':>10}" + "".join(f"{who:>12}" for who in ("dmin", *OTHERS)))
    for name, rows in figures.items():
        excess = {who: np.median([row["excess"][who] for row in rows]) for who in rows[0]["excess"]}
        gradients = np.median([row["evaluations"] for row in rows])
        print(f"{name:14}{gradients:10.0f}" + "".join(f"{excess[who]:12.1e}" for who in excess))
    print(
        f"\nStep sizes of the sweep that came within {USABLE:g} of the least in as many gradients, median over splits:"
    )
    for name, rows in figures.items():
        usable = {who: np.median([row["usable"][who] for row in rows]) for who in OTHERS}
        print(f"{name:14}" + "".join(f"{who:>10}: {usable[who]:3.0f} of {len(RATES[who])}" for who in OTHERS))
    print(f"\nGradients until within {CLOSE:g} of the least (split 0, at most {steps}):")
    for name, rows in figures.items():
        shown = {who: "never" if np.isinf(count) else f"{count:.0f}" for who, count in rows[0]["to within"].items()}
        print(f"{name:14}" + "".join(f"{who:>10}: {count:>5}" for who, count in shown.items()))


def draw(picture, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained", width_ratios=[1.25, 1, 1, 1])
    scores, labels = picture["uncalibrated"]
    axes[0].plot([0, 1], [0, 1], color="0.7", lw=1)
    for name, z in {"uncalibrated": scores, **{name: picture[name][0] for name in CALIBRATORS}}.items():
        expected, observed, _ = reliability(z, labels)
        style = {"color": "0.2", "ls": ":"} if name == "uncalibrated" else {}
        label = f"{name}, ECE {calibration_error(z, labels):.3f}"
        axes[0].plot(expected, observed, marker="o", ms=4, lw=1.2, label=label, **style)
    axes[0].set(title="Test set, ten bins", xlabel="mean probability of “odd”", ylabel="share that is odd")
    axes[0].legend(fontsize=8, loc="upper left")
    for axis, name in zip(axes[1:], CALIBRATORS, strict=True):
        _, curves, least = picture[name]
        budget = len(curves["dmin"])
        for who in ("dmin", *OTHERS):
            label = who if who == "dmin" else f"{who}, best of {len(RATES[who])} steps"
            curve = curves[who][: 2 * budget]
            axis.semilogy(1 + np.arange(len(curve)), np.maximum(curve - least, 1e-14), label=label, lw=1.5)
        axis.axvline(budget, color="0.8", lw=1, zorder=0)
        axis.set(title=f"{name}, hold-out set", xlabel="gradients", ylim=(1e-14, 10))
    axes[1].set_ylabel("log-loss above its least")
    axes[3].legend(fontsize=8, loc="upper right")
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="numpy", help="numpy, torch, jax or tf (default: %(default)s)")
    parser.add_argument("--splits", type=int, default=20, help="random splits of the digits (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1000, help="of SGD and Adam in split 0 (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="a folder for figures.json and picture.png")
    given = parser.parse_args()
    if given.backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)  # JAX would make float32 of the scores
    began = time.perf_counter()
    figures, picture = measure(given.backend, given.splits, given.steps)
    report(figures, given.steps)
    print(f"\n{time.perf_counter() - began:.0f} s with {given.backend}, float64")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        draw(picture, given.out / "picture.png")


if __name__ == "__main__":
    main()
