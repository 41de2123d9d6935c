"""Calibrate a real classifier through three parameters in a dictionary, then minimise a textbook function.

Naive Bayes tells odd from even handwritten digits fairly well, but it counts neighbouring pixels as
independent evidence, so its probabilities are far too sure of themselves. Beta calibration mends a score s:

    mu(s) = 1 / (1 + 1 / (exp(c) s^a / (1 - s)^b)),    c = b log(1 - m) - a log(m),

where a, b >= 0 (a higher score never means a lower probability) and 0 < m < 1 (the score that becomes 1/2);
a = b = 1 and m = 1/2 leave every score as it is. The parameters minimise the log-loss on a small hold-out
set: exact values cost next to nothing there, and L-BFGS-B has no learning rate to tune. A third set, on which
nothing was fitted, says whether it helped.

Each objective is written once, over a dictionary of any framework's arrays. NumPy has no derivatives to
offer, so there they are finite differences. Where dmin-torch is installed, the same functions run again on
tensors, with exact derivatives, and the answers must agree.

Reference: Kull, Silva Filho & Flach (2017), "Beta calibration: a well-founded and easily implemented
improvement on logistic calibration for binary classifiers", AISTATS.

Run it with ``python examples/beta_calibration.py``; it takes data and classifier from scikit-learn.
"""

import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import BernoulliNB

from dmin_core import array_namespace, backends, minimize

N_HOLDOUT = 200
N_BINS = 10

AS_IT_IS = {"a": np.array(1.0), "b": np.array(1.0), "m": np.array(0.5)}
# A solver may touch its bounds, but 0 and 1 have no finite log(m) and log(1 - m).
BOUNDS = {"a": (0, None), "b": (0, None), "m": (1e-6, 1 - 1e-6)}

START = {"x_half_a": np.array([-2.2, 0.0]), "x_half_b": np.array([1.0, -2.0])}
SHIFT = -1.0

# A forward difference over a step of sqrt(eps) errs by half the step times the curvature, which moves a
# minimum by up to half the step times the condition number of the Hessian: 8 for the calibration, 2,500 for
# Rosenbrock's function. eps^(1/4) = 1.2e-4 has room for 16,000; the solver is told to stop well below that.
AGREEMENT = float(np.finfo(float).eps ** 0.25)
TOL = 1e-10


def log_odds(params, log_s, log_not_s):
    """Log-odds of mu(s) from log(s) and log(1 - s): a score that rounds to 0 or 1 does no harm."""
    xp = array_namespace(params)
    a, b, m = params["a"], params["b"], params["m"]
    c = b * xp.log1p(-m) - a * xp.log(m)
    return c + a * log_s - b * log_not_s


def log_loss(params, log_s, log_not_s, label):
    """Mean negative log-likelihood of the labels, 0 or 1, under mu(s)."""
    xp = array_namespace(params)
    z = log_odds(params, log_s, log_not_s)
    return xp.mean(xp.logaddexp(xp.zeros_like(z), z) - label * z)


def rosenbrock(params, shift):
    """Two valleys, one in each parameter; the only minimum is 0, where every number is 1 + shift."""
    x, y = params["x_half_a"] - shift, params["x_half_b"] - shift
    return sum(100 * (half[1] - half[0] ** 2) ** 2 + (1 - half[0]) ** 2 for half in (x, y))


def scored_sets():
    """Train on 40 % of the digits; return (log s, log(1 - s), label) for a hold-out set and a third set."""
    pixels, digit = load_digits(return_X_y=True)
    odd = digit % 2
    pixels_train, pixels_rest, odd_train, odd_rest = train_test_split(
        pixels, odd, train_size=0.4, stratify=odd, random_state=0
    )
    # Ink runs from 0 to 16; this kind of naive Bayes sees only light and dark.
    classifier = BernoulliNB(binarize=8).fit(pixels_train, odd_train)
    log_even, log_odd = classifier.predict_log_proba(pixels_rest).T
    sets = train_test_split(
        log_odd, log_even, odd_rest.astype(float), train_size=N_HOLDOUT, stratify=odd_rest, random_state=0
    )
    return tuple(sets[0::2]), tuple(sets[1::2])


def judge(params, log_s, log_not_s, label):
    """Log-loss, Brier score and expected calibration error of the scores as ``params`` mend them."""
    p = 1 / (1 + np.exp(-log_odds(params, log_s, log_not_s)))
    bins = np.array_split(np.argsort(p, kind="stable"), N_BINS)
    return {
        "log-loss": log_loss(params, log_s, log_not_s, label),
        "Brier score": np.mean((p - label) ** 2),
        # Mean over the digits of |share of odd ones in the bin - mean probability in the bin|.
        f"ECE ({N_BINS} equal-mass bins)": sum(len(i) * abs(np.mean(label[i] - p[i])) for i in bins) / len(p),
    }


def calibrate(holdout, third):
    """Fit the calibration on one set, print what it does on the other; return the result."""
    print("1. Is a handwritten digit odd? Naive Bayes with beta calibration")
    print(f"   fitted on {len(holdout[-1])} held-out digits by dmin_core.minimize, which reports:\n")
    result = minimize(log_loss, AS_IT_IS, args=holdout, bounds=BOUNDS, tol=TOL)
    print(result)
    print("\n   parameters: " + ", ".join(f"{name} = {float(value):.4f}" for name, value in result.x.items()))
    print(f"   on {len(third[-1])} other digits (less is better)   before    after")
    before, after = judge(AS_IT_IS, *third), judge(result.x, *third)
    for name in before:
        print(f"     {name:<32}{before[name]:>9.4f}{after[name]:>9.4f}")
    return result


def minimise_rosenbrock():
    """Find a minimum that is known, over two parameters of a dictionary; return the result."""
    print(f"\n2. Rosenbrock's function, split over two parameters and shifted by {SHIFT:g}")
    result = minimize(rosenbrock, START, args=(SHIFT,), tol=TOL)
    print_run(result)
    known = {name: np.full_like(value, 1 + SHIFT) for name, value in START.items()}
    print(f"   distance from the known answer: {distance(result.x, known):.1e}")
    return result


def print_run(result):
    print(f"   {result.method} on {result.backend}: {result.message}")
    print(f"   {result.nit} iterations, {result.nfev} evaluations, minimum {result.fun:.6g}")


def distance(x, y):
    """Largest difference between two dictionaries of arrays, each of any framework."""
    return max(float(np.max(np.abs(np.asarray(x[name]) - np.asarray(y[name])))) for name in x)


def agrees_in_torch(numpy_result, fun, x0, args, bounds=None):
    """Solve a problem from tensors, print how far apart the answers are; return whether that will do."""
    import torch

    # All that changes: the data, once, and the start. The backend is inferred from it.
    x0 = {name: torch.asarray(value) for name, value in x0.items()}
    args = tuple(torch.asarray(value, dtype=torch.float64) for value in args)
    result = minimize(fun, x0, args=args, bounds=bounds, tol=TOL)
    print(f"\n   {fun.__name__}, by exact derivatives:")
    print_run(result)
    apart = distance(result.x, numpy_result.x)
    print(f"   distance from NumPy's answer: {apart:.1e}, at most {AGREEMENT:.1e} by finite differences")
    return apart <= AGREEMENT


def main():
    holdout, third = scored_sets()
    calibrated = calibrate(holdout, third)
    found = minimise_rosenbrock()

    torch_backend = backends().get("torch")
    if torch_backend is None:
        print('\n3. PyTorch: the plugin is not installed; to get it, pip install "dmin-core[torch]"')
        return
    if torch_backend.error:
        sys.exit(f"\n3. PyTorch: the plugin does not work here: {torch_backend.error}")
    print("\n3. The same two functions in PyTorch")
    agree = [
        agrees_in_torch(calibrated, log_loss, AS_IT_IS, holdout, BOUNDS),
        agrees_in_torch(found, rosenbrock, START, (SHIFT,)),
    ]
    if not all(agree):
        sys.exit("\nNumPy and PyTorch do not agree.")


if __name__ == "__main__":
    main()
