"""Single neurons with published or constructed traps."""

import numpy as np

from jaxloss.problems.problem import Problem
from jaxloss.problems.supervised import neuron_problem


def single_relu(loss: str = "mse") -> Problem:
    """A ReLU neuron taught by relu(x) on x = -1 and 1: half of all normal starts end dead.

    The exact boundary of the dead basin under gradient descent is w + b = 0; a quarter is born dead.
    """
    return neuron_problem(
        "relu",
        loss,
        [[-1.0], [1.0]],
        [0.0, 1.0],
        name="single-relu",
        infimum=0.0,
        citation="after Vardi, Yehudai and Shamir, Learning a single neuron with bias using gradient descent, 2021",
    )


def two_minima_binary(activation: str = "sigmoid", loss: str = "sse") -> Problem:
    """28 binary samples on which a sigmoid neuron has two strict finite minima of the squared error."""
    rows = [
        (-1, 1, 0, 7), (1, -1, 0, 4), (1, 1, 0, 1), (-1, -1, 1, 4), (-1, 1, 1, 1), (1, -1, 1, 8), (1, 1, 1, 3),
    ]  # fmt: skip
    samples = np.array([row[:3] for row in rows for _ in range(row[3])], dtype=np.float64)
    return neuron_problem(
        activation,
        loss,
        samples[:, :2],
        samples[:, 2],
        name="two-minima-binary",
        citation="constructed after Sontag and Sussmann, Backpropagation can give rise to spurious local minima "
        "even for networks without hidden layers, 1989",
    )


def auer_fig3a(activation: str = "sigmoid", loss: str = "sse") -> Problem:
    """Two samples, one weight, no bias: two minima and a maximum between them."""
    return neuron_problem(
        activation,
        loss,
        [[10.0], [0.7]],
        [0.55, 0.25],
        bias=False,
        name="auer-fig3a",
        citation="Auer, Herbster and Warmuth, Exponentially many local minima for single neurons, NIPS 8, 1995, "
        "figure 3a",
    )


def separable_but_stuck(activation: str = "tanh", loss: str = "half_sse") -> Problem:
    """Linearly separable samples whose only finite minimum of the squared error does not separate them."""
    toward, across = np.array([1.0, 1.0]) / np.sqrt(2), 0.8 * np.array([1.0, -1.0]) / np.sqrt(2)
    inputs = np.concatenate([np.tile(toward + across, (60, 1)), np.tile(toward - across, (60, 1)), [[-1.0, 0.5]]])
    return neuron_problem(
        activation,
        loss,
        inputs,
        np.full(len(inputs), 0.8),
        bias=False,
        name="separable-but-stuck",
        citation="constructed after Brady, Raghavan and Slawny, Back propagation fails to separate where "
        "perceptrons succeed, 1989",
    )
