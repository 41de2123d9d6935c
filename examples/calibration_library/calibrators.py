"""Calibrate the scores of a binary classifier, in whichever framework they are.

A score is a log-odds: any number, 0 where both classes seem as likely, the larger the surer of class 1. A calibrator
learns on held-out scores, whose labels are known, which probability a score stands for. Everything is written once,
over the namespace of the caller's arrays: NumPy's, PyTorch's, JAX's, TensorFlow's or CuPy's go in, and the same come
out, of the same dtype (float32 or float64) on the same device. Nothing here imports a framework.

The parameters minimise the log-loss, by exact gradients where the framework has them. It is convex in them, so that
there is one answer, unless a threshold tells the held-out classes apart without error: then there is none, and Platt's
targets are the remedy.
"""

from typing import ClassVar

from dmin_core import array_namespace, minimize

__all__ = ["BetaCalibration", "PlattScaling", "TemperatureScaling", "log_odds"]


def log_odds(probabilities, margin=1e-6):
    """Scores for probabilities, which are first drawn in by ``margin`` so that 0 and 1 have finite ones.

    A classifier that gives logarithms, or a network's logits, loses nothing that way: take their difference instead.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrators import log_odds
    >>> log_odds(np.array([0.0, 0.5, 0.9])).round(2)
    array([-13.82,   0.  ,   2.2 ])
    """
    xp = array_namespace(probabilities)
    inside = margin + (1.0 - 2.0 * margin) * probabilities
    return xp.log(inside) - xp.log(1.0 - inside)


class Calibrator:
    """What the calibrators have in common: a map from scores to log-odds with a few parameters, 0-d arrays.

    Attributes
    ----------
    params : dict of str to 0-d array
        After `fit`.
    result : dmin_core.Result
        What the minimisation said, after `fit`.
    """

    start: ClassVar[dict[str, float]]
    """The parameters that leave every score as it is."""
    bounds: ClassVar[dict[str, tuple] | None] = None

    @staticmethod
    def corrected(params, scores):
        """The log-odds that ``scores`` stand for."""
        raise NotImplementedError

    def targets(self, labels):
        """What probabilities are held against: the labels."""
        return labels

    def fit(self, scores, labels):
        """Learn the parameters.

        Parameters
        ----------
        scores, labels : array (n,)
            Of one framework, on one device; labels are 0 and 1, of any dtype.

        Returns
        -------
        Calibrator
            Itself.
        """
        xp = array_namespace(scores)
        one = xp.ones_like(xp.sum(scores))  # 0-d, of the scores' dtype and on their device
        start = {name: value * one for name, value in self.start.items()}
        args = scores, self.targets(xp.astype(labels, scores.dtype))
        self.result = minimize(self.loss, start, args=args, bounds=self.bounds, tol=1e-10)
        self.params = self.result.x
        return self

    def predict(self, scores):
        """The probabilities of class 1 that ``scores`` (n,) stand for, as the same kind of array."""
        xp = array_namespace(scores)
        return xp.exp(-softplus(-self.corrected(self.params, scores)))

    # A class's method, not an instance's: equal from one fit to the next, so that a framework compiles it once.
    @classmethod
    def loss(cls, params, scores, targets):
        """Mean log-loss of the corrected scores."""
        z = cls.corrected(params, scores)
        return array_namespace(z).mean(softplus(z) - targets * z)


class TemperatureScaling(Calibrator):
    """Scores times one number, 1/T: as sure as they are right, and every decision at 1/2 as it was.

    Reference: Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern neural networks", ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrators import TemperatureScaling
    >>> scores, labels = np.array([-9.0, 9.0, -9.0, 9.0]), np.array([0, 1, 1, 1])
    >>> TemperatureScaling().fit(scores, labels).predict(scores).round(3)
    array([0.25, 0.75, 0.25, 0.75])
    """

    start: ClassVar = {"sharpness": 1.0}
    bounds: ClassVar = {"sharpness": (0, None)}

    @staticmethod
    def corrected(params, scores):
        """1/T is called the sharpness: the log-loss is convex in it."""
        return params["sharpness"] * scores


class PlattScaling(Calibrator):
    """A slope and a level, and targets drawn in from 0 and 1 as if one more of each class had been seen.

    Reference: Platt (1999), "Probabilistic outputs for support vector machines and comparisons to regularized
    likelihood methods", in Advances in Large Margin Classifiers, MIT Press, equations for t+ and t-.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrators import PlattScaling
    >>> scores, labels = np.array([-1.0, -2.0, 3.0, 4.0]), np.array([0, 0, 1, 1])
    >>> bool(PlattScaling().fit(scores, labels).predict(scores)[3] < 0.9)
    True
    """

    start: ClassVar = {"slope": 1.0, "level": 0.0}

    @staticmethod
    def corrected(params, scores):
        """Nothing keeps the slope from being negative: scores that are upside down are put right."""
        return params["slope"] * scores + params["level"]

    def targets(self, labels):
        """(n₁ + 1) / (n₁ + 2) for the n₁ of class 1, 1 / (n₀ + 2) for the others."""
        xp = array_namespace(labels)
        n1, n0 = xp.sum(labels), xp.sum(1.0 - labels)
        return labels * (n1 + 1.0) / (n1 + 2.0) + (1.0 - labels) / (n0 + 2.0)


class BetaCalibration(Calibrator):
    """log-odds of a beta-distributed score s: a log s - b log(1 - s) + c, with a, b >= 0 so that order is kept.

    Reference: Kull, Silva Filho & Flach (2017), "Beta calibration: a well-founded and easily implemented improvement on
    logistic calibration for binary classifiers", AISTATS.

    Examples
    --------
    >>> import numpy as np
    >>> from calibrators import BetaCalibration, log_odds
    >>> scores, labels = log_odds(np.array([0.1, 0.2, 0.7, 0.8, 0.9])), np.array([0, 1, 0, 1, 1])
    >>> calibrator = BetaCalibration().fit(scores, labels)
    >>> bool(calibrator.params["a"] >= 0)
    True
    """

    start: ClassVar = {"a": 1.0, "b": 1.0, "c": 0.0}
    bounds: ClassVar = {"a": (0, None), "b": (0, None)}

    @staticmethod
    def corrected(params, scores):
        """From log s and log(1 - s) straight from the log-odds: no score rounds to 0 or 1."""
        return params["b"] * softplus(scores) - params["a"] * softplus(-scores) + params["c"]


def softplus(z):
    """log(1 + exp(z)) without overflow: -log(1 - s) where z is the log-odds of s."""
    xp = array_namespace(z)
    return xp.logaddexp(xp.zeros_like(z), z)
