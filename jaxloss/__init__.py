"""Where does gradient descent end up? Every trajectory of a grid, run, labelled and mapped."""

import importlib
from typing import TYPE_CHECKING

from jaxloss.errors import InputError

if TYPE_CHECKING:
    from jaxloss import critical_points, figures
    from jaxloss.bifurcation import bifurcation_diagram, descent_map
    from jaxloss.critical_points import find_critical_points
    from jaxloss.flow import compare_with_flow, sweep_flow
    from jaxloss.grids import Axis, Grid, Starts
    from jaxloss.labellers import labeller
    from jaxloss.maps import sweep_map
    from jaxloss.optimizers import OPTIMIZERS, Optimizer
    from jaxloss.outcomes import OUTCOMES
    from jaxloss.problems import (
        Problem,
        list_problems,
        load_problem,
        load_samples,
        network_problem,
        neuron_problem,
    )
    from jaxloss.refinement import cost_exponent, refine, zoom
    from jaxloss.store import open_result
    from jaxloss.stored import sweep_to_store
    from jaxloss.sweeps import sweep

__version__ = "0.1.0"

# Imported on first use, so that `jaxloss --help` does not wait for JAX.
_HOMES = {
    "bifurcation": ("bifurcation_diagram", "descent_map"),
    "critical_points": ("find_critical_points",),
    "flow": ("compare_with_flow", "sweep_flow"),
    "grids": ("Axis", "Grid", "Starts"),
    "labellers": ("labeller",),
    "maps": ("sweep_map",),
    "optimizers": ("OPTIMIZERS", "Optimizer"),
    "outcomes": ("OUTCOMES",),
    "problems": (
        "Problem",
        "list_problems",
        "load_problem",
        "load_samples",
        "network_problem",
        "neuron_problem",
    ),
    "refinement": ("cost_exponent", "refine", "zoom"),
    "store": ("open_result",),
    "stored": ("sweep_to_store",),
    "sweeps": ("sweep",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "OPTIMIZERS",
    "OUTCOMES",
    "Axis",
    "Grid",
    "InputError",
    "Optimizer",
    "Problem",
    "Starts",
    "bifurcation_diagram",
    "compare_with_flow",
    "cost_exponent",
    "critical_points",
    "descent_map",
    "figures",
    "find_critical_points",
    "labeller",
    "list_problems",
    "load_problem",
    "load_samples",
    "network_problem",
    "neuron_problem",
    "open_result",
    "refine",
    "sweep",
    "sweep_flow",
    "sweep_map",
    "sweep_to_store",
    "zoom",
]


def __getattr__(name: str):
    if name in ("critical_points", "figures"):
        return importlib.import_module(f"jaxloss.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'jaxloss' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"jaxloss.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
