"""NLopt's methods keep every promise that dmin asks of a method."""

from dmin_core.testing import MethodTests

TOL = 1e-12  # at 1e-9, dmin-nlopt's own, they stop too early in narrow valleys


class TestMMA(MethodTests):
    method = "nlopt-MMA"
    tol = TOL
    backends = ("numpy",)  # thousands of evaluations in Rosenbrock's valley


class TestSLSQP(MethodTests):
    method = "nlopt-SLSQP"
    tol = TOL
    backends = ("numpy", "torch")


class TestLBFGS(MethodTests):
    method = "nlopt-LBFGS"
    tol = TOL
    backends = ("numpy", "torch")
