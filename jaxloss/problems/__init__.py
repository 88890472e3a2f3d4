"""What is minimised: problems by construction and by name."""

from jaxloss.problems.data_files import load_samples
from jaxloss.problems.problem import Problem, parameter_names
from jaxloss.problems.registry import PROBLEMS, list_problems, load_problem
from jaxloss.problems.supervised import network_problem, neuron_problem

__all__ = [
    "PROBLEMS",
    "Problem",
    "list_problems",
    "load_problem",
    "load_samples",
    "network_problem",
    "neuron_problem",
    "parameter_names",
]
