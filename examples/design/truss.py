"""The ten-bar truss: the lightest one whose bars hold and whose joints sag by no more than two inches.

A cantilever of ten bars carries two loads of 100 kips. Its weight is linear in the bars' cross-sections, what it does
under the loads is not: the joints' displacements u solve K(areas) u = f, and each bar's stress follows from the joints
at its ends. Both come from one function, over whatever framework's arrays, and are held by one `NonlinearConstraint`;
nobody writes a derivative of K's inverse. Two designs have published optima to be judged by:

1. every stress within 25 ksi: 1593.2 lb;
2. and the four free joints within 2 inches, up or down: 5060.85 lb.

References: Venkayya (1971), "Design of optimum structures", Computers & Structures 1:265-309, for the truss; Haftka and
Gürdal (1992), "Elements of structural optimization", Kluwer, pages 238 and 244, for the two optima.

Run it with ``python examples/design/truss.py --backend jax``; NumPy, the default, has its derivatives by differences.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from dmin_core import NonlinearConstraint, array_namespace, minimize

JOINTS = 360.0 * np.array([[2, 1], [2, 0], [1, 1], [1, 0], [0, 1], [0, 0]])  # inches; the last two are fixed
BARS = np.array([[4, 2], [2, 0], [5, 3], [3, 1], [2, 3], [0, 1], [4, 3], [5, 2], [2, 1], [3, 0]])
LOADS = np.array([0.0, 0.0, 0.0, -100.0, 0.0, 0.0, 0.0, -100.0])  # kips: down, at the lower joints
MODULUS, DENSITY = 1e4, 0.1  # ksi, lb per cubic inch
POUNDS = 1000.0  # of a kip
MOST_STRESS, MOST_SAG, LEAST_AREA = 25.0, 2.0, 0.1  # ksi, inches, square inches

SPAN = JOINTS[BARS[:, 1]] - JOINTS[BARS[:, 0]]
LENGTH = np.hypot(*SPAN.T)
STRETCH = np.zeros((10, 12))  # how much longer each bar gets, for each joint's displacement in x and in y
for bar, (one, other) in enumerate(BARS):
    STRETCH[bar, 2 * other : 2 * other + 2] = SPAN[bar] / LENGTH[bar]
    STRETCH[bar, 2 * one : 2 * one + 2] = -SPAN[bar] / LENGTH[bar]
STRETCH = STRETCH[:, :8]

PUBLISHED = {"stress": 1593.2, "stress and displacement": 5060.85}
METHODS = {"SLSQP": {"ftol": 1e-10}, "trust-constr": {"gtol": 1e-8}}
START = {"areas": np.full(10, 20.0)}


def weight(design):
    """In kips, as the loads are: trust-constr weighs it against the constraints, which are of order 1.

    In pounds it was still thousands away after 1,000 iterations; SLSQP does not mind.
    """
    xp = array_namespace(design)
    return xp.sum(design["areas"] * xp.asarray(DENSITY * LENGTH / POUNDS, dtype=design["areas"].dtype))


def response(design):
    """Stresses in ksi (10,) and vertical displacements in inches (4,)."""
    xp = array_namespace(design)
    areas = design["areas"]
    stretch, rigidity, loads = (xp.asarray(each, dtype=areas.dtype) for each in (STRETCH, MODULUS / LENGTH, LOADS))
    stiffness = xp.matmul(xp.matrix_transpose(stretch), xp.expand_dims(areas * rigidity, axis=1) * stretch)
    u = xp.matmul(xp.linalg.inv(stiffness), loads)
    return xp.matmul(stretch, u) * rigidity, xp.matmul(xp.reshape(u, (4, 2)), xp.asarray([0.0, 1.0], dtype=u.dtype))


def stress(design):
    """Stresses as shares of the most that a bar may bear."""
    return {"stress": response(design)[0] / MOST_STRESS}


def stress_and_displacement(design):
    """And displacements as shares of the most that a joint may sag."""
    stresses, sags = response(design)
    return {"stress": stresses / MOST_STRESS, "displacement": sags / MOST_SAG}


LIMITED = {"stress": stress, "stress and displacement": stress_and_displacement}


def lightest(design, method, backend, start=START, slack=0.0):
    """The result of one method for one of the two designs, its limits loosened by a share `slack`."""
    limits = NonlinearConstraint(LIMITED[design], -1 - slack, 1 + slack)
    options = METHODS[method]
    bounds = (LEAST_AREA, None)
    return minimize(weight, start, backend=backend, method=method, bounds=bounds, constraints=limits, options=options)


def report(design, results):
    print(f"\nLimits on {design}; published optimum {PUBLISHED[design]} lb")
    print(f"{'':14}{'weight, lb':>12}{'off by':>10}{'maxcv':>10}{'evaluations':>13}{'seconds':>9}")
    for method, (result, seconds) in results.items():
        off = POUNDS * result.fun / PUBLISHED[design] - 1
        print(f"{method:14}{POUNDS * result.fun:12.3f}{off:10.1e}{result.maxcv:10.1e}{result.nfev:13}{seconds:9.2f}")
    result = results["trust-constr"][0]
    areas, at_least = np.asarray(result.x["areas"]), np.asarray(result.active["bounds"]["x0['areas']"])
    print("  areas, square inches: " + " ".join(f"{area:.2f}" for area in areas))
    print(f"  bars at their least area: {', '.join(str(bar + 1) for bar in np.flatnonzero(at_least))}")
    for path, state in result.active["constraints"].items():
        part = path.partition("'")[2].partition("'")[0]
        multipliers = POUNDS * np.asarray(result.multipliers[0][part])
        for i in np.flatnonzero(state):
            what = f"stress of bar {i + 1}" if part == "stress" else f"displacement of joint {i + 1}"
            print(f"  at its limit: {what}, multiplier {multipliers[i]:.1f} lb")


def priced(design, results, backend, slack=0.01):
    """What the multipliers say that looser limits save, and what they do save."""
    result = results["trust-constr"][0]
    said = slack * POUNDS * sum(np.abs(np.asarray(each)).sum() for each in result.multipliers[0].values())
    # From the design that it is compared with, or another minimum may be found.
    saved = POUNDS * (result.fun - lightest(design, "SLSQP", backend, result.x, slack).fun)
    print(f"  limits {slack:.0%} looser: {said:.2f} lb lighter by the multipliers, {saved:.2f} lb when solved again")


def draw(results, path):
    """Both designs, bars as wide as they are thick, and the way there."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
    colours = plt.get_cmap("Spectral_r")
    for axis, (design, of_methods) in zip(axes, results.items(), strict=False):
        x = np.asarray(of_methods["SLSQP"][0].x["areas"])
        stresses, _ = response({"areas": x})
        for (one, other), area, each in zip(JOINTS[BARS], x, stresses, strict=True):
            colour = colours(0.5 + each / MOST_STRESS / 2)
            axis.plot(*np.array([one, other]).T, color=colour, linewidth=0.5 + 0.35 * area, solid_capstyle="round")
        axis.plot(*JOINTS.T, "o", color="black", markersize=4)
        for joint in JOINTS[[1, 3]]:
            axis.annotate("", joint - [0, 110], joint, arrowprops={"arrowstyle": "-|>", "color": "black"})
        axis.set(title=f"{design}: {POUNDS * of_methods['SLSQP'][0].fun:.1f} lb", aspect="equal", ylim=(-120, 390))
        axis.axis("off")
    scale = plt.cm.ScalarMappable(plt.Normalize(-MOST_STRESS, MOST_STRESS), colours)
    figure.colorbar(scale, ax=axes[:2], location="bottom", shrink=0.5, aspect=40, label="stress, ksi (at most ±25)")
    for method, (result, _) in results["stress and displacement"].items():
        history = result.history
        off = np.abs(POUNDS * np.asarray(history.fun) / PUBLISHED["stress and displacement"] - 1)
        axes[2].semilogy(history.evaluation, off, label=method)
    axes[2].set(title="stress and displacement", xlabel="evaluations", ylabel="|weight / published - 1|")
    axes[2].legend()
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default="numpy", choices=["numpy", "torch", "jax", "tf"])
    parser.add_argument("--out", type=Path, help="a folder for picture.png")
    options = parser.parse_args()
    if options.backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    results = {}
    for design in LIMITED:
        results[design] = {}
        for method in METHODS:
            start = time.perf_counter()
            result = lightest(design, method, options.backend)
            results[design][method] = result, time.perf_counter() - start
        report(design, results[design])
        priced(design, results[design], options.backend)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        draw(results, options.out / "picture.png")


if __name__ == "__main__":
    main()
