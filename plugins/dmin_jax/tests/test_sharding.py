"""Leaves that are sharded over eight devices stay so through a whole run; in a process of its own, which has eight."""

import json
import os
import re
import subprocess
import sys
import textwrap

import pytest

COMMON = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from dmin_core import Checkpoint, get_backend, minimize

devices = jax.devices()
assert len(devices) == 8
mesh = Mesh(np.array(devices).reshape(4, 2), ("x", "y"))
SPECS = {"w": P("x", "y"), "v": P(None, "y"), "u": P(("x", "y")), "b": P()}
VALUES = {"w": np.linspace(-1, 1, 64 * 32).reshape(64, 32), "v": np.ones((32, 16))}
VALUES.update(u=np.zeros(1024), b=np.ones(3))

def start(dtype="float32", sharded=True):
    if not sharded:
        return {k: jnp.asarray(v, dtype) for k, v in VALUES.items()}
    return {k: jax.device_put(jnp.asarray(v, dtype), NamedSharding(mesh, SPECS[k])) for k, v in VALUES.items()}

def fun(p):
    w, v, u, b = (a.astype(jnp.float32) for a in (p["w"], p["v"], p["u"], p["b"]))
    quartic = jnp.sum((w - 0.5) ** 4) + jnp.sum((u - jnp.arange(1024) / 1024) ** 2) + jnp.sum(jnp.cosh(b))
    return quartic + 0.5 * jnp.sum((v - 0.25) ** 2) + 0.1 * jnp.sum(w**2)

def check(nest, dtype="float32"):
    for k, a in nest.items():
        assert a.dtype == dtype, (k, a.dtype)
        assert a.sharding.is_equivalent_to(NamedSharding(mesh, SPECS[k]), a.ndim), (k, a.sharding)

backend, read = get_backend("jax"), []
real = backend.to_numpy
def to_numpy(array):
    read.append(int(np.prod(array.shape)))
    return real(array)
backend.to_numpy = to_numpy

def same(p, q, **tolerance):
    for k in p:
        np.testing.assert_allclose(np.asarray(p[k], float), np.asarray(q[k], float), **tolerance)
"""


def run(code, *arguments, flags=""):
    environment = {
        **{name: value for name, value in os.environ.items() if name != "JAX_ENABLE_X64"},
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=8 {flags}",
        "JAX_PLATFORMS": "cpu",
        # As many threads as cores would be too few: eight devices wait for one another, in more than one computation.
        "NPROC": "64",
    }
    command = [sys.executable, "-W", "error", "-c", COMMON + textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


LOOP = re.compile(r"= \(?(\w+\[[\d,]*\]).* (all-gather|all-to-all|collective-permute|all-reduce)(?:-start)?\(")


def numbers(shape):
    """How many an array of the program's has: 2,048 of ``f32[64,32]``."""
    count = 1
    for d in filter(None, re.search(r"\[([\d,]*)\]", shape)[1].split(",")):
        count *= int(d)
    return count


@pytest.mark.parametrize(
    "bounds", ["None", "(-0.5, {'u': 0.625, 'w': 0.25, 'v': None, 'b': None})"], ids=["free", "bounded"]
)
def test_a_sharded_run_gathers_no_leaf_and_ends_as_the_unsharded_one(bounds, tmp_path):
    said = run(
        f"""
        bounds, method = {bounds}, "device-lbfgs"
        x0 = start()
        if bounds is not None:
            x0["w"] = jax.device_put(jnp.clip(x0["w"], -0.5, 0.25), x0["w"].sharding)
        read.clear()
        sharded = minimize(fun, x0, method=method, bounds=bounds)
        most = max(read)
        check(sharded.x)
        check(sharded.jac)
        plain = minimize(fun, {{k: jnp.asarray(np.asarray(a)) for k, a in x0.items()}}, method=method, bounds=bounds)
        same(sharded.x, plain.x, atol=2e-3)
        same(sharded.jac, plain.jac, atol=2e-3)
        assert abs(sharded.fun - plain.fun) <= 1e-5 * abs(plain.fun)
        assert sharded.success and plain.success
        np.testing.assert_allclose(sharded.history.fun[:5], plain.history.fun[:5], rtol=1e-4)
        # Where float32 has no more digits, the order of a sum decides how long the last search is.
        near = plain.fun * (1 + 1e-5)
        print(json.dumps([most, *(int(np.argmax(r.history.fun <= near)) for r in (sharded, plain))]))
        """,
        flags=f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text",
    )
    most, sharded, plain = said
    assert 5 < sharded < 30
    assert abs(sharded - plain) <= 2
    programs = [path.read_text() for path in sorted(tmp_path.glob("*jit_dmin_loop*after_optimizations.txt"))]
    spread = [text for text in programs if "num_partitions=8" in text]
    assert len(spread) == 1  # one program serves every stretch
    found = [(kind, numbers(shape)) for shape, kind in LOOP.findall(spread[0])]
    assert "all-reduce" in {kind for kind, _ in found}
    # Inner products are reduced, a square of the history's at most; nothing as long as a leaf is brought together.
    assert all(kind == "all-reduce" and count <= 21 * 11 for kind, count in found), found
    if bounds == "None":
        assert most <= 400  # the report of a stretch; the smallest sharded leaf has 512


def test_what_else_a_run_may_have_is_had_over_sharded_leaves(tmp_path):
    said = run(
        """
        method, path = "device-lbfgs", sys.argv[1]
        plain = minimize(fun, start(sharded=False), method=method)

        seen = []
        def watch(intermediate_result):
            check(intermediate_result.x)
            seen.append(intermediate_result.nit)
        read.clear()
        watched = minimize(fun, start(), method=method, callback=watch)
        assert max(read) <= 400
        same(watched.x, plain.x, atol=2e-3)
        assert seen == list(range(1, watched.nit + 1))

        # By Python's loop, and with the user's own gradient.
        eager = minimize(fun, start(), method=method, compile=False)
        check(eager.x)
        same(eager.x, plain.x, atol=2e-3)
        given = minimize(jax.value_and_grad(fun), start(), jac=True, method=method)
        check(given.x)
        same(given.x, plain.x, atol=2e-3)

        half = minimize(fun, start("bfloat16"), method=method)
        check(half.x, "bfloat16")
        same(half.x, plain.x, atol=2e-2)

        kept = Checkpoint(path, every=0)
        first = minimize(fun, start(), method=method, checkpoint=kept, options={"maxiter": 3})
        resumed = minimize(fun, start(), method=method, checkpoint=kept)
        check(resumed.x)
        whole = minimize(fun, start(), method=method)
        assert resumed.replayed == first.nfev
        assert (resumed.fun, resumed.nfev) == (whole.fun, whole.nfev)
        same(resumed.x, whole.x, rtol=0)

        frozen = minimize(fun, start(), method=method, frozen="v")
        check(frozen.x)
        same({"v": frozen.x["v"]}, {"v": VALUES["v"]}, rtol=0)

        chosen = minimize(fun, start())
        assert chosen.method == method and "sharded over 8 devices" in chosen.chosen, chosen.chosen
        assert (chosen.fun, chosen.nfev) == (whole.fun, whole.nfev)

        # Methods on the host know them too, through a host vector.
        host = minimize(fun, start(), method="L-BFGS-B")
        check(host.x)
        same(host.x, plain.x, atol=2e-3)

        x0 = start()
        x0["w"] = jax.device_put(x0["w"].at[3, 4].set(jnp.nan), x0["w"].sharding)
        try:
            minimize(fun, x0, method=method)
        except ValueError as error:
            print(json.dumps(str(error)))
        """,
        tmp_path / "run.dmin",
    )
    assert "x0['w'][3, 4] is nan" in said


def test_dense_second_derivatives_are_had_over_sharded_leaves():
    assert run(
        """
        small = {"w": jax.device_put(jnp.ones((4, 2)), NamedSharding(mesh, P("x", "y"))),
                 "b": jax.device_put(jnp.ones(3), NamedSharding(mesh, P()))}
        f = lambda p: jnp.sum((p["w"] - 2.0) ** 4) + jnp.sum(p["w"]) * jnp.sum(p["b"] ** 2) + jnp.sum(p["b"] ** 4)
        result = minimize(f, small, method="trust-exact")
        plain = minimize(f, {k: jnp.asarray(np.asarray(a)) for k, a in small.items()}, method="trust-exact")
        for k in small:
            np.testing.assert_allclose(result.x[k], plain.x[k], atol=1e-3)
        matrix = result.hessian()["w"]["b"]
        np.testing.assert_allclose(matrix, plain.hessian()["w"]["b"], atol=1e-2)
        device = minimize(f, small, method="device-lbfgs")
        np.testing.assert_allclose(device.hessian()["w"]["b"], matrix, atol=2e-2)
        print(json.dumps(list(matrix.shape)))
        """
    ) == [4, 2, 3]


def test_leaves_may_all_be_sharded_or_be_numbers():
    """Nothing is made like a leaf that would not divide among the devices, and a number is not cut."""
    found = run("""
        first = NamedSharding(mesh, P(("x", "y")))
        def far(p):
            return jnp.sum((p["w"] - 1.0) ** 4) + jnp.sum(p["w"] ** 2) + (p["s"] - 2.0) ** 2
        found = {}
        for method in ("L-BFGS-B", "device-lbfgs", "device-bfgs", "device-newton-cg"):
            w = jax.device_put(jnp.zeros(64, "float32"), first)
            alone = minimize(lambda w: jnp.sum((w - 1.0) ** 4) + jnp.sum(w**2), w, method=method)
            x0 = {"w": w, "s": jax.device_put(jnp.zeros((), "float32"), NamedSharding(mesh, P()))}
            both = minimize(far, x0, method=method)
            assert alone.x.sharding.is_equivalent_to(first, 1) and both.x["w"].sharding.is_equivalent_to(first, 1)
            assert both.x["s"].shape == ()
            found[method] = [float(jnp.ptp(alone.x)), float(alone.x[0] - both.x["w"][0]), float(both.x["s"])]
        print(json.dumps(found))
    """)
    for spread, apart, number in found.values():
        assert (spread, abs(apart) < 1e-2, abs(number - 2.0) < 1e-2) == (0.0, True, True)


def test_a_mesh_with_explicit_axes_is_refused():
    found = run("""
        if not hasattr(jax.sharding, "AxisType"):
            print(json.dumps(""))
            sys.exit()
        explicit = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
        try:
            minimize(jnp.sum, jax.device_put(jnp.zeros(64), NamedSharding(explicit, P("x"))), method="device-lbfgs")
        except Exception as error:
            print(json.dumps(f"{type(error).__name__}: {error}"))
    """)
    assert not found or found.startswith("InputError: x0 is sharded over a mesh with explicit axes")
