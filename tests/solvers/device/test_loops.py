"""What a compiled loop is handed, and how often it is called."""

import numpy as np
import pytest
from array_api_compat import numpy as host

from dmin_core import backends, get_backend, minimize
from dmin_core.solvers.device import loops

COMPILING = [name for name, info in backends().items() if info.devices and get_backend(name).compiles]


def test_a_nest_is_packed_into_its_points_and_two_vectors():
    point = np.arange(5.0)
    numbers = np.asarray(0.1, np.float32), np.arange(6, dtype=np.float32).reshape(2, 3)
    nest = {"point": (point,), "numbers": numbers, "integer": np.int32(2**30 + 1), "truth": np.asarray(True)}
    packing = loops.Packing(nest, [point])
    packed = packing.pack(nest, host)
    for one, other in zip(packed, packing.pack_on_host(nest), strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    assert len(packed) == packing.count == 3
    assert packed[0] is point
    assert [each.dtype for each in packed[1:]] == [np.float32, np.int32]
    found = packing.unpack(packed, host)
    assert found["point"] == (point,)
    for before, after in zip(numbers, found["numbers"], strict=True):
        np.testing.assert_array_equal(before, after)
    assert found["integer"] == 2**30 + 1
    assert found["truth"]
    assert packing.unpack_points(packed)["point"][0] is point


def test_nests_of_other_shapes_or_kinds_have_other_keys():
    def key(*leaves):
        return loops.Packing(leaves).key

    one, row, whole = np.asarray(1.0), np.zeros(2), np.asarray(1, np.int32)
    assert key(one, whole) == key(2.0 * one, whole)
    assert len({key(one, whole), key(row, whole), key(whole, one)}) == 3


@pytest.mark.skipif(not COMPILING, reason="no installed backend compiles")
@pytest.mark.parametrize("method", ["device-lbfgs", "device-bfgs", "device-newton-cg"])
@pytest.mark.parametrize("backend", COMPILING)
def test_a_run_of_what_is_compiled_takes_two_calls_of_few_arrays(backend, method, monkeypatch):
    monkeypatch.setattr(loops, "SECONDS", 1e9)  # of any machine's
    owner, handed = get_backend(backend), []
    xp = owner.namespace(owner.from_numpy(np.zeros(1), None))

    def fun(x):
        return xp.sum((x["a"] - 1.0) ** 4) + xp.sum((x["b"] - x["a"][0]) ** 2)

    compile_stretch = owner.compile

    def spied(stretch):
        run = compile_stretch(stretch)

        def call(point, *args):
            handed.append(len(point))
            return run(point, *args)

        return call

    monkeypatch.setattr(owner, "compile", spied)
    x0 = {"a": owner.from_numpy(np.zeros(3), None), "b": owner.from_numpy(np.full(2, 4.0), None)}
    calls = []
    for _ in range(2):
        handed.clear()
        result = minimize(fun, x0, method=method)
        assert result.success
        assert 8 < result.nfev < loops.LONGEST
        calls.append(len(handed))
    assert calls == [3, 2]
    assert max(handed) <= 14  # the state's points, its numbers and integers, those of the limits
