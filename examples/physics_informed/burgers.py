"""Burgers' equation by a network that is trained on the equation alone, held against the exact solution.

    u_t + u u_x = ν u_xx,  u(0, x) = -sin(πx),  u(t, -1) = u(t, 1) = 0,  ν = 0.1/π,

on 0 <= t <= 1 (Raissi, Perdikaris and Karniadakis 2019, "Physics-informed neural networks", J. Comput. Phys. 378:686,
where ν is a tenth of this, and the network six times as large). Here u = -sin(πx) + t (1 - x²) N(t, x), so that start
and ends hold whatever the network N (two layers of 20, tanh) says, and the loss is one mean square: the equation's
residual at fixed points.

Adam begins, with the best of three steps. Then the same point goes to L-BFGS-B, device-lbfgs, device-bfgs, and to more
of Adam, whose step then falls to nothing as half a cosine, from the best of three. All have the same number of
evaluations. With 500 parameters and no noise in the gradient, what Adam lacks is curvature (Urbán, Stefanou and Pons
2025, "Unveiling the optimization process of physics informed neural networks", J. Comput. Phys. 523:113656).

The derivatives in t and x are carried forwards through the layers beside the value, so that the objective is plain
arithmetic, written once for every framework, and differentiated once by it. The exact solution is Cole and Hopf's, by
Gauss-Hermite quadrature (Basdevant et al. 1986, "Spectral and finite difference solutions of the Burgers equation",
Comput. Fluids 14:23-41).

Run it with ``python examples/physics_informed/burgers.py --backend jax``.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.stats import qmc

from dmin_core import array_namespace, get_backend, minimize

NU = 0.1 / np.pi
WIDTH = 20
METHODS = {
    "L-BFGS-B": {"maxcor": 50, "ftol": 0.0, "gtol": 0.0},
    "device-lbfgs": {"maxcor": 50, "ftol": 0.0, "gtol": 0.0},
    "device-bfgs": {"gtol": 0.0},
}
RATES = 3e-3, 1e-2, 3e-2


# The equation --------------------------------------------------------------------------------------------


def network(p, points):
    """N, N_t, N_x and N_xx at points (n, 2), rows t and x, each (n, 1)."""
    xp = array_namespace(points)
    n = xp.matmul(points, p["w1"]) + p["b1"]
    n_t, n_x, n_xx = p["w1"][0:1, :], p["w1"][1:2, :], 0.0
    for w, b in (("w2", "b2"), ("w3", "b3")):
        n = xp.tanh(n)
        slope = 1.0 - n * n
        n_xx = slope * (n_xx - 2.0 * n * n_x * n_x)
        n_t, n_x = slope * n_t, slope * n_x
        n, n_t, n_x, n_xx = xp.matmul(n, p[w]) + p[b], xp.matmul(n_t, p[w]), xp.matmul(n_x, p[w]), xp.matmul(n_xx, p[w])
    return n, n_t, n_x, n_xx


def solution(p, points):
    """The network's u at points (n, 2), and its derivatives."""
    xp = array_namespace(points)
    t, x = points[:, 0:1], points[:, 1:2]
    n, n_t, n_x, n_xx = network(p, points)
    sine, cosine, inside = xp.sin(np.pi * x), xp.cos(np.pi * x), 1.0 - x * x
    u = -sine + t * inside * n
    u_t = inside * (n + t * n_t)
    u_x = -np.pi * cosine + t * (inside * n_x - 2.0 * x * n)
    u_xx = np.pi**2 * sine + t * (inside * n_xx - 4.0 * x * n_x - 2.0 * n)
    return u, u_t, u_x, u_xx


def loss(p, points):
    """The equation's mean squared residual."""
    u, u_t, u_x, u_xx = solution(p, points)
    return array_namespace(points).mean((u_t + u * u_x - NU * u_xx) ** 2)


def exact(points, nodes=100):
    """Cole and Hopf's solution, at points (n, 2) of NumPy's with t > 0."""
    z, weights = np.polynomial.hermite.hermgauss(nodes)
    t, x = points[:, 0:1], points[:, 1:2]
    y = x - np.sqrt(4 * NU * t) * z
    share = np.log(weights) - np.cos(np.pi * y) / (2 * np.pi * NU)
    share = np.exp(share - share.max(axis=1, keepdims=True))
    return -np.sum(share * np.sin(np.pi * y), axis=1) / np.sum(share, axis=1)


# Training ------------------------------------------------------------------------------------------------


def initial(seed):
    """Glorot's weights."""
    random = np.random.default_rng(seed)
    shapes = {"w1": (2, WIDTH), "w2": (WIDTH, WIDTH), "w3": (WIDTH, 1)}
    net = {name: random.normal(size=shape) * np.sqrt(2 / sum(shape)) for name, shape in shapes.items()}
    return net | {"b1": np.zeros(WIDTH), "b2": np.zeros(WIDTH), "b3": np.zeros(1)}


def adam(backend, net, points, steps, rate, watch, falling=False):
    """Kingma and Ba's method (2015), over leaves on the host; the last network."""
    names = sorted(net)
    evaluate = backend.value_and_grad(loss_at)
    x = [backend.to_numpy(net[name]).copy() for name in names]
    first, second = [np.zeros_like(each) for each in x], [np.zeros_like(each) for each in x]
    for step in range(1, steps + 1):
        point = tuple(backend.from_numpy(each.copy(), None) for each in x)
        _, gradient = evaluate(point, points)
        watch(step, dict(zip(names, point, strict=True)))
        for each, m, v, g in zip(x, first, second, map(backend.to_numpy, gradient), strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            share = (1 + np.cos(np.pi * step / steps)) / 2 if falling else 1.0
            each -= share * rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return {name: backend.from_numpy(each, None) for name, each in zip(names, x, strict=True)}


def loss_at(point, points):
    """`loss` as a backend's hooks take functions: over a tuple of arrays."""
    return loss(dict(zip(["b1", "b2", "b3", "w1", "w2", "w3"], point, strict=True)), points)


class Watch:
    """Loss and error by evaluation, looked at 1, 1.05, 1.1, … times as late as before."""

    def __init__(self, backend, points):
        grid = np.stack(np.meshgrid(np.linspace(0, 1, 51)[1:], np.linspace(-1, 1, 257), indexing="ij"), -1)
        self.backend, self.points, self.grid = backend, points, grid
        self.at = backend.from_numpy(grid.reshape(-1, 2), None)
        self.exact = exact(grid.reshape(-1, 2))
        self.seen = []
        self.next = 1
        self.begun, self.seconds = time.process_time(), None

    def error(self, net):
        """‖u - exact‖ / ‖exact‖ over a grid."""
        return np.linalg.norm(self.u(net) - self.exact) / np.linalg.norm(self.exact)

    def u(self, net):
        """The network's solution at the grid, flat."""
        return self.backend.to_numpy(solution(net, self.at)[0])[:, 0]

    def __call__(self, evaluation, net):
        """Look, if it is time."""
        if evaluation >= self.next:
            self.seen.append((evaluation, float(loss(net, self.points)), self.error(net)))
            self.next = 1.05 * evaluation

    def iteration(self, intermediate_result):
        """What `minimize` calls."""
        if intermediate_result.nfev >= self.next:  # x comes to the host only then
            self(intermediate_result.nfev, intermediate_result.x)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default="torch", choices=["torch", "jax", "tf"])
    parser.add_argument("--points", type=int, default=512)
    parser.add_argument("--adam", type=int, default=500, help="evaluations to begin with")
    parser.add_argument("--evaluations", type=int, default=3000, help="of each method then")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder for picture.png")
    options = parser.parse_args()
    if options.backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    backend = get_backend(options.backend)
    points = qmc.scale(qmc.Sobol(2, seed=options.seed).random(options.points), [0, -1], [1, 1])
    points = backend.from_numpy(points, None)
    net = {name: backend.from_numpy(each, None) for name, each in initial(options.seed).items()}

    print(f"{'':14}{'loss':>10}{'error':>10}{'evaluations':>13}{'CPU s':>9}")

    begun, rate, begin = best_of_adam(backend, net, points, options.adam)
    print_row(f"Adam, {rate:g}", begun, begin, options.adam)
    watches, nets = {}, {}
    for method, settings in METHODS.items():
        watches[method] = watch = Watch(backend, points)
        limits = {"maxfun": options.evaluations, "maxiter": options.evaluations}
        result = minimize(
            loss,
            begun,
            args=(points,),
            method=method,
            callback=watch.iteration if options.out else None,  # a compiled loop would stop for it at each iteration
            options=settings | limits,
        )
        nets[method] = result.x
        print_row(method, result.x, watch, result.nfev)
    more, rate, watches["more Adam"] = best_of_adam(backend, begun, points, options.evaluations, falling=True)
    print_row(f"more, {rate:g}", more, watches["more Adam"], options.evaluations)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        draw(begin, watches, nets["device-bfgs"], options.out / "picture.png")


def best_of_adam(backend, net, points, evaluations, falling=False):
    """The network with the least loss, the step that led there, and the watch over it."""
    runs = []
    for rate in RATES:
        watch = Watch(backend, points)
        found = adam(backend, net, points, evaluations, rate, watch, falling)
        watch.seconds = time.process_time() - watch.begun
        runs.append((float(loss(found, points)), found, rate, watch))
    return min(runs, key=lambda run: run[0])[1:]


def print_row(name, net, watch, evaluations):
    seconds = watch.seconds or time.process_time() - watch.begun
    value, error = float(loss(net, watch.points)), watch.error(net)
    print(f"{name:14}{value:10.2e}{error:10.2e}{evaluations:13}{seconds:9.1f}", flush=True)


def draw(begin, watches, net, path):
    """The solution, where it is wrong, and the error by evaluations."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    watch = watches["device-bfgs"]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.1), layout="constrained", width_ratios=[1, 1, 1.3])
    t, x = watch.grid[:, 0, 0], watch.grid[0, :, 1]
    wrong = watch.u(net) - watch.exact
    pictures = {"u by device-bfgs": watch.u(net), "less the exact u": wrong}
    for axis, (title, values) in zip(axes, pictures.items(), strict=False):
        most = np.abs(values).max()
        shape = {"cmap": "RdBu_r", "vmin": -most, "vmax": most, "shading": "auto", "rasterized": True}
        image = axis.pcolormesh(t, x, values.reshape(len(t), len(x)).T, **shape)
        figure.colorbar(image, ax=axis)
        axis.set(title=title, xlabel="t", ylabel="x")
    offset = begin.seen[-1][0]
    axes[2].semilogy(
        *np.array([(evaluation, error) for evaluation, _, error in begin.seen]).T, color="black", label="Adam"
    )
    for name, each in watches.items():
        evaluations, _, errors = np.array(each.seen).T
        axes[2].semilogy(offset + evaluations, errors, label=name)
    axes[2].set(title="‖u - exact‖ / ‖exact‖", xlabel="evaluations of the loss and its gradient")
    axes[2].legend()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
