"""Fit the kernel of a Gaussian process to the CO₂ over Mauna Loa, from several starts within bounds.

The kernel is that of scikit-learn's example on these data: a long rise, a season that may drift, irregularities over
some years, and noise, correlated and not. Its eleven hyper-parameters maximise the log marginal likelihood, with
gradients by the framework. Both dmin and scikit-learn's `GaussianProcessRegressor`, whose gradients are written by
hand, run L-BFGS-B from the same starts within the same bounds; what each finds is valued by scikit-learn.

What the objective does not say: where the covariance has no Cholesky factor, the framework raises or returns nan, and
dmin has the method take a shorter step. The period is frozen at a year.

The data come with statsmodels: weekly means of air samples, here averaged by month.

References: Rasmussen & Williams (2006), "Gaussian processes for machine learning", MIT Press, algorithm 2.1 and section
5.4.3. Keeling & Whorf (2004), "Atmospheric CO2 concentrations derived from flask air samples at sites in the SIO
network", Carbon Dioxide Information Analysis Center.
"""

import argparse
import json
import math
import time
import warnings
from pathlib import Path

import numpy as np

from dmin_core import array_namespace, get_backend, minimize

LAST_TRAINED = 1992.0
"""What comes later is for the judgement."""

# Logarithms throughout. A variance is what scikit-learn calls a constant value.
START = {
    "trend": {"variance": math.log(50.0**2), "length": math.log(50.0)},
    "season": {"variance": math.log(2.0**2), "decay": math.log(100.0), "length": 0.0, "period": 0.0},
    "years": {"variance": math.log(0.5**2), "alpha": 0.0, "length": 0.0},
    "noise": {"variance": math.log(0.1**2), "length": math.log(0.1), "white": math.log(0.1**2)},
}
LOW, HIGH = math.log(1e-5), math.log(1e5)
JITTER = 1e-10
"""Added to the diagonal, as scikit-learn does."""

THETA = [(part, name) for part, names in START.items() for name in names if name != "period"]
"""The order of scikit-learn's vector of hyper-parameters, for the kernel below."""


# The model, in any framework -------------------------------------------------------------------------------


def covariance(p, distance):
    """Covariance of the CO₂ at times so far apart, white noise left out."""
    xp = array_namespace(p)
    p = {part: {name: xp.exp(value) for name, value in names.items()} for part, names in p.items()}
    trend, season, years, noise = p["trend"], p["season"], p["years"], p["noise"]
    square = distance**2

    def bell(length):
        return xp.exp(-square / (2 * length**2))

    wave = xp.exp(-2 * (xp.sin(math.pi * distance / season["period"]) / season["length"]) ** 2)
    mixed = xp.exp(-years["alpha"] * xp.log1p(square / (2 * years["alpha"] * years["length"] ** 2)))
    return (
        trend["variance"] * bell(trend["length"])
        + season["variance"] * bell(season["decay"]) * wave
        + years["variance"] * mixed
        + noise["variance"] * bell(noise["length"])
    )


def negative_log_likelihood(p, distance, y, eye):
    """Of centred values y (n,) at times with the distances (n, n), marginal over functions."""
    xp = array_namespace(y)
    factor = xp.linalg.cholesky(covariance(p, distance) + (xp.exp(p["noise"]["white"]) + JITTER) * eye)
    white = xp.linalg.solve(factor, y)
    n = y.shape[0]
    return xp.sum(white**2) / 2 + xp.sum(xp.log(xp.linalg.diagonal(factor))) + n / 2 * math.log(2 * math.pi)


def predict(p, t, y, new):
    """Mean and standard deviation of measurements at new times, in NumPy."""
    p = {part: {name: np.asarray(value) for name, value in names.items()} for part, names in p.items()}
    noise = np.exp(p["noise"]["white"]) + JITTER
    factor = np.linalg.cholesky(covariance(p, np.abs(t[:, None] - t)) + noise * np.eye(len(t)))
    across = np.linalg.solve(factor, covariance(p, np.abs(t[:, None] - new)))
    mean = across.T @ np.linalg.solve(factor, y)
    return mean, np.sqrt(covariance(p, np.zeros(1)) + noise - np.sum(across**2, 0))


# scikit-learn's -------------------------------------------------------------------------------------------


def kernel_of(p):
    """The kernel in scikit-learn's terms, with the hyper-parameters ``p``."""
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, ExpSineSquared, RationalQuadratic, WhiteKernel

    p = {part: {name: float(np.exp(value)) for name, value in names.items()} for part, names in p.items()}
    trend, season, years, noise = p["trend"], p["season"], p["years"], p["noise"]
    wave = ExpSineSquared(season["length"], season["period"], periodicity_bounds="fixed")
    return (
        ConstantKernel(trend["variance"]) * RBF(trend["length"])
        + ConstantKernel(season["variance"]) * RBF(season["decay"]) * wave
        + ConstantKernel(years["variance"]) * RationalQuadratic(alpha=years["alpha"], length_scale=years["length"])
        + ConstantKernel(noise["variance"]) * RBF(noise["length"])
        + WhiteKernel(noise["white"])
    )


def fit_in_sklearn(start, t, y):
    """What `GaussianProcessRegressor` finds from ``start``, as a nest."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of values at their bounds: so are some of dmin's
        kernel = GaussianProcessRegressor(kernel_of(start)).fit(t[:, None], y).kernel_
    found = {part: dict(names) for part, names in start.items()}
    for (part, name), value in zip(THETA, kernel.theta, strict=True):
        found[part][name] = float(value)
    return found


def judge(p, t, y):
    """The log marginal likelihood as scikit-learn computes it."""
    from sklearn.gaussian_process import GaussianProcessRegressor

    return float(
        GaussianProcessRegressor(kernel_of(p), optimizer=None).fit(t[:, None], y).log_marginal_likelihood_value_
    )


# The whole -------------------------------------------------------------------------------------------------


def monthly():
    """Times in years and CO₂ in parts per million."""
    import statsmodels.api as sm

    weekly = sm.datasets.co2.load_pandas().data["co2"].dropna()
    mean = weekly.resample("MS").mean().dropna()
    return (mean.index.year + (mean.index.month - 0.5) / 12).to_numpy(), mean.to_numpy()


def starts(count):
    """scikit-learn's example, then points drawn around it: each hyper-parameter within a factor of ten."""
    rng = np.random.default_rng(0)
    yield START
    for _ in range(count - 1):
        drawn = {part: dict(names) for part, names in START.items()}
        for part, name in THETA:
            drawn[part][name] += float(rng.uniform(-math.log(10), math.log(10)))
        yield drawn


def fit(start, backend, dtype, t, y):
    """What dmin finds from ``start``."""

    def convert(array):
        return get_backend(backend).from_numpy(np.asarray(array, dtype), None)

    data = convert(np.abs(t[:, None] - t)), convert(y), convert(np.eye(len(t)))
    x0 = {part: {name: convert(value) for name, value in names.items()} for part, names in start.items()}
    return minimize(negative_log_likelihood, x0, args=data, bounds={"**": (LOW, HIGH)}, frozen="season/period")


def measure(backend, dtype, count, every):
    t, co2 = monthly()
    trained = np.flatnonzero(t < LAST_TRAINED)[::every]
    level = co2[trained].mean()
    data = t[trained], co2[trained] - level
    rows, answers = [], []
    for start in starts(count):
        began = time.perf_counter()
        result = fit(start, backend, dtype, *data)
        ours = {part: {name: float(value) for name, value in names.items()} for part, names in result.x.items()}
        seconds = time.perf_counter() - began
        began = time.perf_counter()
        theirs = fit_in_sklearn(start, *data)
        rows.append(
            {
                "start": judge(start, *data),
                "dmin": judge(ours, *data),
                "itself": -result.fun,
                "scikit-learn": judge(theirs, *data),
                "nfev": result.nfev,
                "nfail": result.nfail,
                "success": bool(result.success),
                "seconds": [seconds, time.perf_counter() - began],
            }
        )
        answers.append((ours, theirs))
        print("{start:12.2f}{dmin:12.3f}{scikit-learn:14.3f}{nfev:7}{nfail:7}".format(**rows[-1]), flush=True)
    best = max(range(count), key=lambda i: rows[i]["dmin"])
    best_theirs = max(range(count), key=lambda i: rows[i]["scikit-learn"])
    ours, theirs = answers[best][0], answers[best_theirs][1]
    later = t >= LAST_TRAINED
    mean, sd = predict(ours, *data, t[later])
    error = co2[later] - level - mean
    figures = {
        "n": len(trained),
        "starts": rows,
        "values": {f"{part}/{name}": [ours[part][name], theirs[part][name]] for part, name in THETA},
        "later": {"rmse": float(np.sqrt(np.mean(error**2))), "covered": float(np.mean(np.abs(error) < 1.96 * sd))},
    }
    return figures, (t, co2, trained, level, ours)


def report(figures):
    rows = figures["starts"]
    print(f"best: dmin {max(r['dmin'] for r in rows):.4f}, scikit-learn {max(r['scikit-learn'] for r in rows):.4f}")
    print(f"{'':18}{'dmin':>12}{'scikit-learn':>14}")
    for name, (ours, theirs) in figures["values"].items():
        print(f"{name:18}{math.exp(ours):12.4g}{math.exp(theirs):14.4g}")
    later = "error {rmse:.2f} ppm (rms), {covered:.0%} within 95 % intervals".format(**figures["later"])
    print(f"from {LAST_TRAINED:g} on: {later}")
    print("seconds: dmin {:.1f}, scikit-learn {:.1f}".format(*np.sum([r["seconds"] for r in rows], 0)))


def draw(t, co2, trained, level, p, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    grid = np.arange(1985, 2012, 1 / 24)
    mean, sd = predict(p, t[trained], co2[trained] - level, grid)
    figure, axis = plt.subplots(figsize=(9, 4), layout="constrained")
    axis.fill_between(grid, level + mean - 1.96 * sd, level + mean + 1.96 * sd, color="C0", alpha=0.25, lw=0)
    axis.plot(grid, level + mean, color="C0", lw=1, label="Gaussian process, 95 % interval")
    axis.plot(t[trained], co2[trained], "k.", ms=3, label=f"fitted ({len(trained)} months from {t[0]:.0f})")
    later = t >= LAST_TRAINED
    axis.plot(t[later], co2[later], ".", color="C1", ms=3, label="not fitted")
    axis.axvline(LAST_TRAINED, color="0.8", lw=1, zorder=0)
    axis.set(xlim=(grid[0], grid[-1]), ylim=(338, 402), xlabel="year", ylabel="CO₂ over Mauna Loa (ppm)")
    axis.legend(loc="upper left")
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="torch", help="torch, jax, tf or numpy (default: %(default)s)")
    parser.add_argument("--dtype", default="float64", help="of dmin's part: float64 or float32 (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--every", type=int, default=1, help="take every so manieth month only (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="a folder for figures.json and picture.png")
    given = parser.parse_args()
    if given.backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)  # JAX would make float32 of everything
    print("log marginal likelihood\n       start        dmin  scikit-learn   nfev  nfail")
    figures, fitted = measure(given.backend, given.dtype, given.starts, given.every)
    report(figures)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        draw(*fitted, given.out / "picture.png")


if __name__ == "__main__":
    main()
