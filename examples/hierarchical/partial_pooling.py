"""Partial pooling by firm: the most probable parameters, and their uncertainty from the Hessian there.

Grunfeld's data, which come with statsmodels, have the investment, market value and capital stock of eleven American
firms over twenty years. The logarithm of investment is linear in those of the other two, and each firm's three
coefficients θᵢ are drawn around common ones:

    yᵢₜ ~ N(θᵢ·xᵢₜ, σ²),   θᵢ ~ N(μ, diag(τ²)),   μ ~ N(0, 10²),   log τ, log σ ~ N(-1, 1).

1. The θᵢ are integrated out, which a Gaussian allows. `minimize` finds the mode over (μ, log τ, log σ), and
   `result.covariance()` makes of it a Laplace approximation. An importance sample of the exact posterior says how far
   off it is. (The mode over everything at once would be useless: it is where the θᵢ are all alike and τ is small. And a
   prior of τ that does not fall off towards zero leaves a long tail there, which no Gaussian has: Chung et al.)
2. Given τ and σ, now frozen, the posterior of μ and of all θᵢ is exactly Gaussian. The same two calls give its mean and
   covariance, and linear algebra in NumPy says whether they are right.
3. Without the priors the first objective is a likelihood, and its maximum is that of statsmodels' `MixedLM`.

References: Gelman, Carlin, Stern, Dunson, Vehtari & Rubin (2013), "Bayesian data analysis", 3rd edition, CRC, sections
13.3 (normal approximation at the mode), 10.4 (importance sampling) and 15.4 (varying slopes). Chung, Rabe-Hesketh,
Dorie, Gelman & Liu (2013), "A nondegenerate penalized likelihood estimator for variance parameters in multilevel
models", Psychometrika 78. Grunfeld (1958), "The determinants of corporate investment", University of Chicago.
"""

import argparse
import json
import math
import time
import warnings
from pathlib import Path

import numpy as np

from dmin_core import array_namespace, get_backend, minimize

COEFFICIENTS = ["level", "value", "capital"]
START = {"mean": np.zeros(3), "log_sd": np.full(3, -1.0), "log_noise": np.array(-1.0)}


# The model, in any framework -------------------------------------------------------------------------------


def negative_log_prior(p):
    """Of μ, log τ and log σ, up to a constant."""
    xp = array_namespace(p["mean"])
    of_spreads = xp.sum((p["log_sd"] + 1) ** 2) / 2 + (p["log_noise"] + 1) ** 2 / 2
    return xp.sum(p["mean"] ** 2) / (2 * 10.0**2) + of_spreads


def negative_log_marginal(p, x, y, eye):
    """Of y (firms, years), with the firms' coefficients integrated out: x is (firms, years, 3), eye (years, years)."""
    xp = array_namespace(p["mean"])
    scaled = x * xp.exp(p["log_sd"])
    spread = xp.matmul(scaled, xp.matrix_transpose(scaled)) + xp.exp(2 * p["log_noise"]) * eye
    factor = xp.linalg.cholesky(spread)
    residual = y - xp.matmul(x, p["mean"])
    white = xp.linalg.solve(factor, residual[..., None])
    constant = y.shape[0] * y.shape[1] / 2 * math.log(2 * math.pi)
    return xp.sum(white**2) / 2 + xp.sum(xp.log(xp.linalg.diagonal(factor))) + constant


def negative_log_posterior(p, x, y, eye):
    return negative_log_marginal(p, x, y, eye) + negative_log_prior(p)


def negative_log_joint(p, x, y):
    """The same with the firms' coefficients, p["firm"] (firms, 3), among the parameters."""
    xp = array_namespace(p["firm"])
    residual = (y - xp.sum(x * p["firm"][:, None, :], axis=-1)) / xp.exp(p["log_noise"])
    around = (p["firm"] - p["mean"]) / xp.exp(p["log_sd"])
    return xp.sum(residual**2) / 2 + xp.sum(around**2) / 2 + xp.sum(p["mean"] ** 2) / (2 * 10.0**2)


# What it is held against -----------------------------------------------------------------------------------


def exact_given_spreads(log_sd, log_noise, x, y):
    """Mean and covariance of (θ, μ) given τ and σ: a Gaussian, by its precision."""
    firms, _, k = x.shape
    around = np.diag(np.exp(-2 * log_sd))
    precision, right = np.zeros((firms * k + k,) * 2), np.zeros(firms * k + k)
    common = slice(firms * k, None)
    precision[common, common] = firms * around + np.eye(k) / 10.0**2
    for i in range(firms):
        own = slice(i * k, i * k + k)
        precision[own, own] = x[i].T @ x[i] * np.exp(-2 * log_noise) + around
        precision[own, common] = precision[common, own] = -around
        right[own] = x[i].T @ y[i] * np.exp(-2 * log_noise)
    return np.linalg.solve(precision, right), np.linalg.inv(precision)


def importance_sample(mode, covariance, data, draws):
    """Points (draws, 7) and weights that sum to one, from a t density of 5 degrees of freedom around the mode."""
    rng, freedom, n = np.random.default_rng(0), 5, len(mode)
    steps = rng.normal(size=(draws, n)) / np.sqrt(rng.chisquare(freedom, draws) / freedom)[:, None]
    points = mode + steps @ np.linalg.cholesky(covariance).T
    log_t = -(freedom + n) / 2 * np.log1p(np.sum(steps**2, 1) / freedom)
    log_p = np.array([-negative_log_posterior(nest_of(point), *data) for point in points])
    weights = np.exp(log_p - log_t - np.max(log_p - log_t))
    return points, weights / weights.sum()


def in_statsmodels(x, y):
    """`MixedLM` by maximum likelihood, with independent random coefficients."""
    from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams
    from statsmodels.tools.sm_exceptions import ConvergenceWarning

    firms, years, k = x.shape
    flat = x.reshape(-1, k)
    model = MixedLM(y.ravel(), flat, np.repeat(np.arange(firms), years), exog_re=flat)
    free = MixedLMParams.from_components(fe_params=np.ones(k), cov_re=np.eye(k))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what it reached is reported below
        return model.fit(reml=False, free=free, method=["lbfgs"], maxiter=500)


# The whole -------------------------------------------------------------------------------------------------


def grunfeld():
    """Inputs (11, 20, 3) and outputs (11, 20): logarithms, the inputs' centred and scaled; the firms' names."""
    import statsmodels.api as sm

    data = sm.datasets.grunfeld.load_pandas().data
    names = list(dict.fromkeys(data["firm"]))
    firm = np.array([names.index(name) for name in data["firm"]])
    table = np.log(data[["invest", "value", "capital"]].to_numpy(float))
    table[:, 1:] = (table[:, 1:] - table[:, 1:].mean(0)) / table[:, 1:].std(0)
    rows = np.stack([table[firm == i] for i in range(len(names))])
    return np.concatenate([np.ones_like(rows[..., :1]), rows[..., 1:]], -1), rows[..., 0], names


def flat_of(p):
    """A nest like `START` as a vector, and back: dmin's own order, keys sorted."""
    return np.concatenate([np.ravel(np.asarray(p[name])) for name in ("log_noise", "log_sd", "mean")])


def nest_of(vector):
    return {"log_noise": vector[0], "log_sd": vector[1:4], "mean": vector[4:]}


PARAMETERS = ["log σ", *(f"log τ {name}" for name in COEFFICIENTS), *(f"μ {name}" for name in COEFFICIENTS)]


def measure(backend, draws):
    convert = get_backend(backend).from_numpy

    def nest(p):
        return {name: convert(np.asarray(value), None) for name, value in p.items()}

    x, y, names = grunfeld()
    data = x, y, np.eye(y.shape[1])
    inside = tuple(convert(array, None) for array in data)

    began = time.perf_counter()
    result = minimize(negative_log_posterior, nest(START), args=inside, tol=1e-10)
    mode, covariance = flat_of(result.x), result.covariance(flat=True)
    seconds = time.perf_counter() - began
    sd = np.sqrt(np.diag(covariance))
    points, weights = importance_sample(mode, covariance, data, draws)
    mean = weights @ points
    exact_sd = np.sqrt(weights @ (points - mean) ** 2)
    covered = weights @ (np.abs(points - mode) < 1.96 * sd)

    found = nest_of(mode)
    given = nest({**found, "firm": np.zeros((len(names), 3))})
    joint = minimize(negative_log_joint, given, args=inside[:2], frozen=["log_sd", "log_noise"], method="trust-exact")
    firm, common = np.asarray(joint.x["firm"]), np.asarray(joint.x["mean"])
    spread = joint.covariance(flat=True)
    exact_mean, exact = exact_given_spreads(found["log_sd"], found["log_noise"], x, y)
    exact_sds = np.sqrt(np.diag(exact))

    # As an optimiser sees it: from the mode, not from where statsmodels' answer is.
    likely = minimize(negative_log_marginal, nest(found), args=inside, tol=1e-10)
    theirs = in_statsmodels(x, y)
    figures = {
        "parameters": {
            name: {"mode": m, "sd": s, "exact mean": em, "exact sd": es, "covered": c}
            for name, m, s, em, es, c in zip(PARAMETERS, mode, sd, mean, exact_sd, covered, strict=True)
        },
        "effective draws": float(1 / np.sum(weights**2)),
        "evaluations": result.nfev,
        "seconds": seconds,
        "given spreads": {
            "mean": float(np.max(np.abs(np.concatenate([firm.ravel(), common]) - exact_mean) / exact_sds)),
            "covariance": float(np.max(np.abs(spread - exact) / np.outer(exact_sds, exact_sds))),
        },
        "log-likelihood": {"dmin": -likely.fun, "MixedLM": float(theirs.llf)},
        "μ": {"dmin": np.asarray(likely.x["mean"]).tolist(), "MixedLM": theirs.fe_params.tolist()},
        "τ": {
            "dmin": np.exp(np.asarray(likely.x["log_sd"])).tolist(),
            "MixedLM": np.sqrt(np.diag(theirs.cov_re)).tolist(),
        },
    }
    sds = np.sqrt(np.diag(spread))
    return figures, (x, y, names, firm, sds[: firm.size].reshape(firm.shape), common, sds[firm.size :])


def report(figures):
    print("               mode and sd by dmin     exact mean and sd      in the 95 % interval")
    for name, row in figures["parameters"].items():
        cells = "{mode:12.3f} ± {sd:.3f}{exact mean:16.3f} ± {exact sd:.3f}{covered:18.1%}".format(**row)
        print(f"{name:14}{cells}")
    print(f"({figures['effective draws']:.0f} effective draws; {figures['evaluations']} evaluations, ", end="")
    print(f"{figures['seconds']:.2f} s with the covariance)")
    print("given τ and σ, against linear algebra, in standard deviations: ", end="")
    print("mean {mean:.1e}, covariance {covariance:.1e}".format(**figures["given spreads"]))
    print("greatest log-likelihood: dmin {dmin:.6f}, MixedLM {MixedLM:.6f}".format(**figures["log-likelihood"]))


def draw(x, y, names, firm, sd, common, common_sd, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    alone = np.array([np.linalg.lstsq(x[i], y[i], rcond=None)[0] for i in range(len(names))])
    rows = np.arange(len(names))
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 4), layout="constrained", sharey=True)
    for k, (axis, name) in enumerate(zip(axes, COEFFICIENTS, strict=True)):
        axis.axvspan(common[k] - 1.96 * common_sd[k], common[k] + 1.96 * common_sd[k], color="0.9", lw=0)
        axis.axvline(common[k], color="0.6", lw=1, label="common, 95 % interval")
        axis.plot(alone[:, k], rows, "o", mfc="none", color="C1", ms=5, label="each firm by itself")
        axis.errorbar(
            firm[:, k], rows, xerr=1.96 * sd[:, k], fmt="o", ms=4, lw=1.2, color="C0", label="partially pooled"
        )
        axis.set(title=name, yticks=rows, yticklabels=names)
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="numpy", help="numpy, torch, jax or tf (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=40_000, help="of the importance sample (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="a folder for figures.json and picture.png")
    given = parser.parse_args()
    if given.backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)  # JAX would make float32 of everything
    figures, fitted = measure(given.backend, given.draws)
    report(figures)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        draw(*fitted, given.out / "picture.png")


if __name__ == "__main__":
    main()
