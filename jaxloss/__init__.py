"""Where does gradient descent end up? Every trajectory of a grid, run, labelled and mapped."""

from jaxloss import figures
from jaxloss.critical_points import find_critical_points
from jaxloss.errors import InputError
from jaxloss.grids import Axis, Grid, Starts
from jaxloss.optimizers import OPTIMIZERS, Optimizer
from jaxloss.outcomes import OUTCOMES
from jaxloss.problems import Problem, list_problems, load_problem, load_samples, network_problem, neuron_problem
from jaxloss.sweeps import sweep

__version__ = "0.1.0"

__all__ = [
    "OPTIMIZERS",
    "OUTCOMES",
    "Axis",
    "Grid",
    "InputError",
    "Optimizer",
    "Problem",
    "Starts",
    "figures",
    "find_critical_points",
    "list_problems",
    "load_problem",
    "load_samples",
    "network_problem",
    "neuron_problem",
    "sweep",
]
