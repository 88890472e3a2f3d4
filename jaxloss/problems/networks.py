"""Small networks whose traps are known."""

import itertools

import numpy as np

from jaxloss.problems.problem import Problem
from jaxloss.problems.supervised import network_problem

XOR_INPUTS = np.array(list(itertools.product((0.0, 1.0), repeat=2)))
XOR_TARGETS = np.array([0.0, 1.0, 1.0, 0.0])


def xor_221(loss: str = "mse") -> Problem:
    """XOR by two hidden sigmoid units: slow plateaus, but no finite local minimum above the infimum.

    The loss tends to its infimum, 0, as the weights run to infinity.
    """
    return network_problem(
        (2, 2, 1),
        ("sigmoid", "sigmoid"),
        loss,
        XOR_INPUTS,
        XOR_TARGETS,
        name="xor-221",
        infimum=0.0,
        citation="Kolen and Pollack, Back propagation is sensitive to initial conditions, NIPS 3, 1990",
    )
