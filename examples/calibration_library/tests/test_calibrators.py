"""One source, every framework: the calibrators help on real data, and give the same in all of them.

CuPy needs a GPU. Where there is none, array-api-strict stands in for it, which shows that the calibrators use nothing
but the standard's functions and take no array to the host; not that CuPy runs them.
"""

import functools
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from calibrators import BetaCalibration, PlattScaling, TemperatureScaling, log_odds
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import BernoulliNB

from dmin_core import array_namespace, backends, get_backend

# The core keeps a cache by dtype, in which NumPy's are too; array-api-strict warns of each such comparison.
pytestmark = pytest.mark.filterwarnings("ignore:.*You are comparing a array_api_strict dtype:UserWarning")

FRAMEWORKS = {
    "numpy": "dmin-core",
    "torch": "dmin-torch",
    "jax": "dmin-jax",
    "tensorflow": "dmin-tf",
    "cupy": "dmin-cupy",
    "array_api_strict": "array-api-strict",
}
"""What a framework's arrays are called, and the distribution without which it is skipped."""

CALIBRATORS = [TemperatureScaling, PlattScaling, BetaCalibration]

every_framework = pytest.mark.parametrize("host", FRAMEWORKS, indirect=True)
every_calibrator = pytest.mark.parametrize("calibrator", CALIBRATORS, ids=lambda calibrator: calibrator.__name__)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture
def host(request):
    """The backend of the framework under test, which moves arrays between it and NumPy."""
    framework = request.param
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    aliases = {alias: name for name, info in backends().items() for alias in (name, *info.aliases)}
    if framework not in aliases:
        pytest.skip(f"needs {FRAMEWORKS[framework]}, which is not installed")
    info = backends()[aliases[framework]]
    if framework == "cupy" and not info.devices:
        pytest.skip("cupy finds no GPU that it can use")
    assert info.error is None
    return get_backend(framework)


@functools.cache
def digits():
    """Log-odds that a digit is odd, by naive Bayes, and whether it is: (hold-out set, third set).

    It counts neighbouring pixels as independent evidence, so it is far too sure of itself.
    """
    pixels, digit = load_digits(return_X_y=True)
    odd = digit % 2
    train, rest, odd_train, odd_rest = train_test_split(pixels, odd, train_size=0.4, stratify=odd, random_state=0)
    # Ink runs from 0 to 16; this kind of naive Bayes sees only light and dark.
    log_p = BernoulliNB(binarize=8).fit(train, odd_train).predict_joint_log_proba(rest)
    scores = log_p[:, 1] - log_p[:, 0]
    sets = train_test_split(scores, odd_rest, train_size=400, stratify=odd_rest, random_state=0)
    return tuple(sets[0::2]), tuple(sets[1::2])


@functools.cache
def fitted(calibrator, framework, dtype):
    """A calibrator fitted on the hold-out set, and that set's scores, in the framework."""
    (scores, labels), _ = digits()
    host = get_backend(framework)
    scores, labels = (host.from_numpy(values.astype(dtype), None) for values in (scores, labels))
    return calibrator().fit(scores, labels), scores


def probabilities(calibrator, host, scores, dtype):
    """What it predicts for scores of NumPy's, in NumPy and float64."""
    return host.to_numpy(calibrator.predict(host.from_numpy(scores.astype(dtype), None))).astype(float)


# What goes in and comes out --------------------------------------------------------------------------------


@every_framework
@every_calibrator
@every_dtype
def test_probabilities_are_arrays_of_the_callers_kind(calibrator, host, dtype):
    calibrator, scores = fitted(calibrator, host.name, dtype)
    predicted = calibrator.predict(scores)
    arrays = [predicted, *calibrator.params.values()]
    assert {type(array) for array in arrays} <= {type(scores), np.dtype(dtype).type}  # NumPy's own scalars are 0-d
    assert {array.dtype for array in arrays} == {scores.dtype}
    assert {host.device(array) for array in arrays} == {host.device(scores)}
    assert tuple(predicted.shape) == tuple(scores.shape)


@every_framework
@every_calibrator
def test_labels_may_have_any_dtype(calibrator, host):
    (values, labels), _ = digits()
    scores, floats = (host.from_numpy(array.astype(float), None) for array in (values, labels))
    xp = array_namespace(scores)
    found = []
    for given in (floats, xp.astype(floats, xp.int32), xp.astype(floats, xp.bool)):
        found.append(host.to_numpy(calibrator().fit(scores, given).predict(scores)))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


@every_framework
@every_calibrator
@every_dtype
def test_scores_of_any_size_have_probabilities(calibrator, host, dtype):
    calibrator, _ = fitted(calibrator, host.name, dtype)
    p = probabilities(calibrator, host, np.array([-1e4, -50.0, 0.0, 50.0, 1e4]), dtype)
    assert np.isfinite(p).all()
    assert (np.diff(p) >= 0).all()
    assert p[0] < 0.01
    assert p[-1] > 0.99


@every_framework
def test_the_scores_of_0_and_1_are_finite(host):
    scores = host.to_numpy(log_odds(host.from_numpy(np.array([0.0, 0.25, 0.5, 1.0]), None)))
    np.testing.assert_allclose(scores, [np.log(1e-6), -np.log(3), 0.0, -np.log(1e-6)], rtol=1e-5, atol=1e-15)


def test_importing_the_library_imports_no_framework():
    names = [name for name in FRAMEWORKS if name != "numpy"]
    code = f"import calibrators, sys; print([name for name in {names} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# Whether it helps ------------------------------------------------------------------------------------------


def log_loss(p, labels):
    return -np.mean(np.log(np.where(labels == 1, p, 1 - p)))


def expected_calibration_error(p, labels):
    """Mean over the digits of |share of odd ones in the bin - mean probability in the bin|, ten bins of one size."""
    bins = np.array_split(np.argsort(p, kind="stable"), 10)
    return sum(len(i) * abs(np.mean(labels[i] - p[i])) for i in bins) / len(p)


@every_framework
@every_calibrator
@every_dtype
def test_digits_not_seen_before_have_better_probabilities(calibrator, host, dtype):
    _, (scores, labels) = digits()
    before = 1 / (1 + np.exp(-scores))
    after = probabilities(fitted(calibrator, host.name, dtype)[0], host, scores, dtype)
    assert log_loss(after, labels) < 0.8 * log_loss(before, labels)
    assert expected_calibration_error(after, labels) < 0.7 * expected_calibration_error(before, labels)


# Whether it is right ---------------------------------------------------------------------------------------


@functools.cache
def reference(calibrator):
    """The probabilities on the hold-out set, by Newton's method in NumPy to the last bits.

    Each calibrator is a logistic regression on functions of the score; none ends on a bound here.
    """
    (z, labels), _ = digits()
    one, ahead, behind = np.ones_like(z), np.logaddexp(0, -z), np.logaddexp(0, z)
    columns = {TemperatureScaling: [z], PlattScaling: [z, one], BetaCalibration: [-ahead, behind, one]}[calibrator]
    targets = labels.astype(float)
    if calibrator is PlattScaling:
        n1, n0 = np.sum(labels == 1), np.sum(labels == 0)
        targets = np.where(labels == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    x = np.stack(columns, axis=1)
    weights = np.zeros(len(columns))
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ weights))
        weights -= np.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]), x.T @ (p - targets))
    return 1 / (1 + np.exp(-x @ weights))


@every_framework
@every_calibrator
@every_dtype
def test_all_frameworks_agree(calibrator, host, dtype):
    (scores, _), _ = digits()
    p = probabilities(fitted(calibrator, host.name, dtype)[0], host, scores, dtype)
    # A logistic regression's log-loss is above its least by the mean Kullback-Leibler divergence of the fitted from the
    # best probabilities, and that is at least twice their mean square difference (Pinsker). `fit` stops at a relative
    # reduction of 1e-10; a mean in the scores' dtype may be wrong in its last digits.
    gap = max(1e-10, 30 * float(np.finfo(dtype).eps))
    assert np.sqrt(np.mean((p - reference(calibrator)) ** 2)) <= np.sqrt(gap / 2)


@every_framework
@every_calibrator
def test_a_framework_that_compiles_compiles_a_calibrator_once(calibrator, host):
    if not host.compiles:
        pytest.skip(f"{host.name} does not compile")
    calls = []

    class Counted(calibrator):
        @staticmethod
        def corrected(params, scores):
            calls.append(type(scores))
            return calibrator.corrected(params, scores)

    counts = []
    (scores, labels), _ = digits()
    for factor in (1.0, 0.5):
        calls.clear()
        Counted().fit(*(host.from_numpy(array, None) for array in (factor * scores, labels.astype(float))))
        counts.append(len(calls))
    assert counts[0] > 0
    assert counts[1] == 0
