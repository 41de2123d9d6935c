"""The smallest change to a handwritten digit that makes a network read another one.

A small network is trained on scikit-learn's digits. Then, for images that it has not seen and reads rightly,

    minimise ‖image - original‖²  such that  logit(other) - logit(true) >= 0.01,  0 <= image <= 1,

which SLSQP solves as it stands: 64 pixels, bounds, one nonlinear constraint whose gradient is the framework's. The
image is the only variable; the network, the original and the class to be taken for are frozen leaves of the same nest,
so that one compiled function serves every image. The other class is the one whose boundary looks nearest from the
original (Moosavi-Dezfooli, Fawzi and Frossard 2016, "DeepFool", CVPR, algorithm 2).

Beside it: projected gradient descent on the same constraint (Madry, Makelov, Schmidt, Tsipras and Vladu 2018, "Towards
deep learning models resistant to adversarial attacks", ICLR), which needs a radius: by bisection, or grown and shrunk
at every step (Rony et al. 2019, "Decoupling direction and norm for efficient gradient-based L2 adversarial attacks and
defenses", CVPR). It starts at the radius that a linear network would need, has its steps out of a sweep, the best for
all images together, and as many evaluations of the network and its gradient as SLSQP took for the same image, or ten
times as many.

Run it with ``python examples/adversarial/digits.py --backend torch``.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from dmin_core import NonlinearConstraint, array_namespace, get_backend, minimize

HIDDEN, DECAY = 32, 1e-4
MARGIN = 0.01
SWEEP = [
    *({"radius": "bisected", "steps": steps, "step": step} for steps in (2, 4, 8) for step in (0.3, 1.0, 3.0)),
    *({"radius": "adapted", "change": change, "step": step} for change in (0.05, 0.1, 0.2) for step in (0.3, 1.0)),
]
"""How PGD may be set: steps at a radius, or the radius's change at a step; steps are in radii."""


# The network ---------------------------------------------------------------------------------------------


def logits(net, image):
    """Of one image (64,) or several (n, 64): (10,) or (n, 10)."""
    xp = array_namespace(image)
    return xp.matmul(xp.tanh(xp.matmul(image, net["w1"]) + net["b1"]), net["w2"]) + net["b2"]


def loss(net, images, classes):
    """Cross-entropy, `classes` one-hot (n, 10), and weight decay."""
    xp = array_namespace(images)
    z = logits(net, images)
    z = z - xp.max(z, axis=1, keepdims=True)
    nats = xp.log(xp.sum(xp.exp(z), axis=1)) - xp.sum(classes * z, axis=1)
    return xp.mean(nats) + DECAY * (xp.sum(net["w1"] ** 2) + xp.sum(net["w2"] ** 2))


def train(backend, seed=0):
    """The network, and the images (n, 64) and digits (n,) kept from it that it reads rightly."""
    images, digits = load_digits(return_X_y=True)
    images, kept, digits, of_kept = train_test_split(images / 16, digits, train_size=1000, random_state=seed)
    random = np.random.default_rng(seed)
    shapes = {"w1": (64, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN, 10), "b2": (10,)}
    net = {name: random.normal(size=shape) / 8 for name, shape in shapes.items()}
    args = tuple(backend.from_numpy(each, None) for each in (images, np.eye(10)[digits]))
    net = minimize(loss, {name: backend.from_numpy(each, None) for name, each in net.items()}, args=args).x
    right = np.argmax(backend.to_numpy(logits(net, backend.from_numpy(kept, None))), axis=1) == of_kept
    print(f"the network reads {right.mean():.1%} of {right.size} unseen digits rightly")
    return net, kept[right], of_kept[right]


# The smallest change -------------------------------------------------------------------------------------


def change(x):
    """‖image - original‖²."""
    return array_namespace(x["image"]).sum((x["image"] - x["original"]) ** 2)


def margin(x):
    """By how much the network prefers the other class to the true one: `towards` is 1 there, -1 here, else 0."""
    return array_namespace(x["image"]).sum(x["towards"] * logits(x["net"], x["image"]))


def nearest(backend, net, image, digit):
    """The direction in the logits (10,) towards the class whose boundary looks nearest from here."""
    evaluate = backend.value_and_grad(margin_at)
    found = {}
    for other in set(range(10)) - {int(digit)}:
        towards = np.eye(10)[other] - np.eye(10)[digit]
        value, (gradient,) = evaluate((backend.from_numpy(image, None),), backend.from_numpy(towards, None), net)
        found[(MARGIN - float(value)) / np.linalg.norm(backend.to_numpy(gradient))] = towards
    return found[min(found)]


def by_slsqp(backend, net, image, towards):
    """The result, whose ``x["image"]`` the network reads as the other class."""
    start = {"image": image, "original": image, "towards": towards}
    start = {name: backend.from_numpy(each.copy(), None) for name, each in start.items()} | {"net": net}
    return minimize(
        change,
        start,
        method="SLSQP",
        bounds={"image": (0, 1)},
        constraints=NonlinearConstraint(margin, MARGIN, None),
        frozen=["original", "towards", "net"],
        options={"ftol": 1e-9},
    )


# Projected gradient descent ------------------------------------------------------------------------------


def margin_at(point, towards, net):
    """`margin` as a backend's hooks take functions: over a tuple of arrays."""
    return margin({"image": point[0], "towards": towards, "net": net})


def margin_and_gradient(backend, net, towards):
    """From an image to both, in NumPy's arrays."""
    both = backend.value_and_grad(margin_at)
    constants = backend.from_numpy(towards, None), net

    def evaluate(image):
        value, (gradient,) = both((backend.from_numpy(image.copy(), None),), *constants)
        return float(value), backend.to_numpy(gradient)

    return evaluate


def by_pgd(evaluate, image, budget, setting):
    """The least ‖image - original‖ found within `budget` evaluations, and that image; infinity where none was.

    ``evaluate(image)`` is the margin and its gradient.
    """
    best, found = np.inf, image
    x, left, tried, radius, failed_at = image, budget, 0, None, 0.0
    while left > 0:
        value, gradient = evaluate(x)
        left, tried = left - 1, tried + 1
        distance = np.linalg.norm(x - image)
        if radius is None:
            radius = (MARGIN - value) / np.linalg.norm(gradient)  # a linear network's
        crossed = value >= MARGIN
        if crossed and distance < best:
            best, found = distance, x
        if setting["radius"] == "adapted":
            radius *= 1 - setting["change"] if crossed else 1 + setting["change"]
        elif crossed or tried > setting["steps"]:
            failed_at = failed_at if crossed else radius
            radius = 2 * radius if best == np.inf else (failed_at + best) / 2
            x, tried = (image, 0) if crossed else (x, 1)
            if crossed:
                continue
        x = x + setting["step"] * radius * gradient / np.linalg.norm(gradient)
        x = image + (x - image) * min(1.0, radius / np.linalg.norm(x - image))
        x = np.clip(x, 0, 1)  # towards the original, which is inside: the ball is not left
    return best, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default="torch", choices=["torch", "jax", "tf"])
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--out", type=Path, help="a folder for digits.png")
    options = parser.parse_args()
    if options.backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    backend = get_backend(options.backend)
    net, images, digits = train(backend)
    images, digits = images[: options.images], digits[: options.images]
    towards = [nearest(backend, net, image, digit) for image, digit in zip(images, digits, strict=True)]

    start = time.perf_counter()
    results = [by_slsqp(backend, net, *each) for each in zip(images, towards, strict=True)]
    seconds = time.perf_counter() - start
    least = np.array([result.fun**0.5 for result in results])
    evaluations = np.array([result.ncev for result in results])
    print(f"SLSQP: ‖change‖ {np.median(least):.4f} by median, {least.min():.4f} to {least.max():.4f}")
    print(f"  evaluations {np.median(evaluations):.0f} by median, at most {evaluations.max()}; {seconds:.1f} s")
    print(f"  converged on {sum(result.success for result in results)} of {len(results)} images")
    print(f"  maxcv at most {max(result.maxcv for result in results):.1e}")
    print(f"  pixels at a bound: {np.mean([np.count_nonzero(r.active['bounds'][IMAGE]) for r in results]):.0f} of 64")

    ratios, shown = {}, None
    for times in (1, 10):
        runs = []
        for setting in SWEEP:
            found = [
                by_pgd(margin_and_gradient(backend, net, other), image, budget, setting)
                for image, other, budget in zip(images, towards, times * evaluations, strict=True)
            ]
            runs.append((np.array([norm for norm, _ in found]) / least, [image for _, image in found], setting))
        runs.sort(key=lambda run: np.median(run[0]))
        ratios[times], changed, setting = runs[0]
        shown = shown or changed
        low, middle, high = np.quantile(ratios[times], [0, 0.5, 1])
        print(f"PGD at {times} x the evaluations: {middle:.4f} of SLSQP's norm by median, {low:.5f} to {high:.4f}")
        print(f"  by {setting}, the best of the sweep; by median over the images, all of it:")
        print("  " + " ".join(f"{np.median(ratio):.3f}" for ratio, *_ in runs))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        draw(backend, images, digits, towards, results, shown, ratios, options.out / "digits.png")


IMAGE = "x0['image']"


def draw(backend, images, digits, towards, results, by_pgd, ratios, path):
    """Some digits before and after, and how much larger PGD's changes are."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(7, len(results))
    figure = plt.figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.9, 1])
    axes = left.subplots(4, columns)
    for i, column in enumerate(axes.T):
        changed = backend.to_numpy(results[i].x["image"])
        for axis, image in zip(column, (images[i], changed, changed - images[i], by_pgd[i] - images[i]), strict=True):
            signed = image.min() < 0
            colours = (
                {"cmap": "RdBu_r", "vmin": -0.5, "vmax": 0.5} if signed else {"cmap": "gray_r", "vmin": 0, "vmax": 1}
            )
            axis.imshow(image.reshape(8, 8), **colours)
            axis.set(xticks=[], yticks=[])
        norms = (np.linalg.norm(each - images[i]) for each in (changed, by_pgd[i]))
        labels = str(digits[i]), str(np.argmax(towards[i])), *(f"{norm:.3f}" for norm in norms)
        for axis, label in zip(column, labels, strict=True):
            axis.set_xlabel(label, fontsize=9, labelpad=2)
    for axis, label in zip(axes[:, 0], ("read as", "SLSQP:\nread as", "its change", "PGD's change"), strict=True):
        axis.set_ylabel(label)
    axis = right.subplots()
    for times, ratio in ratios.items():
        axis.semilogy(np.sort(ratio - 1).clip(1e-7), label=f"{times} × the evaluations")
    axis.set(xlabel="images, sorted", ylabel="PGD's ‖change‖ over SLSQP's, less 1")
    axis.legend()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
