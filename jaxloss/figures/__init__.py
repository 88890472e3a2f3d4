"""Figures: what stored results look like. Nothing is recomputed here.

===========================  =====================================================================
`plot_comparison`            the outcome maps of several objectives, one row each: ``basins.png``
`plot_outcome_map`           where each initial point of one objective ends up
`plot_outcome_fractions`     how often each outcome occurs, against the learning rate
`plot_loss_surface`          the loss, its gradient field, the critical points and the recorded paths
`plot_learning_curves`       loss and gradient along the recorded paths
`plot_plane`                 the loss over a plane through many parameters, with the outcomes on top
`plot_critical_points`       the critical points of one or two parameters on the loss, and what is proven
`plot_problem`               a problem of the registry: its loss, or a plane through its parameters
`plot_optimizer_comparison`  which optimiser solves which share of the runs, as a table of shaded cells
`plot_continuation`          the share of each basin, stacked, along a hyperparameter
`plot_bifurcation`           the orbits in the long run, and their Lyapunov exponents
`plot_flow_comparison`       gradient flow beside gradient descent, and whose fate the step changes
`plot_tipping`               where the starts of each basin belong at another value
`animate_basins`             the basins along a hyperparameter, as a GIF
`plot_basin_times`           the basins, shaded by how long a trajectory took
`plot_basin_entropy`         how uncertain the fate is within each box of a map
`plot_boundary_scaling`      the boundary between basins, and how it scales with the size of boxes
`plot_refined_map`           an outcome map drawn from the cells that were halved
`plot_refinement_cost`       how many trajectories a map takes, against its resolution
`plot_all`                   every figure that the results allow, into one folder
===========================  =====================================================================

Each returns a ``matplotlib.figure.Figure`` and, given ``path``, writes a PNG of 200 dots per inch.
matplotlib is imported when the first figure is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxloss.figures.continuation import (
        animate_basins,
        plot_bifurcation,
        plot_continuation,
        plot_flow_comparison,
        plot_tipping,
    )
    from jaxloss.figures.critical_points import plot_critical_points
    from jaxloss.figures.fractions import plot_outcome_fractions
    from jaxloss.figures.gallery import plot_all
    from jaxloss.figures.learning_curves import plot_learning_curves
    from jaxloss.figures.loss_surface import plot_loss_surface, plot_plane
    from jaxloss.figures.measures import plot_basin_entropy, plot_basin_times, plot_boundary_scaling
    from jaxloss.figures.optimizers import plot_optimizer_comparison
    from jaxloss.figures.outcome_maps import plot_comparison, plot_outcome_map
    from jaxloss.figures.problems import plot_problem
    from jaxloss.figures.refinement import plot_refined_map, plot_refinement_cost

__all__ = [
    "animate_basins",
    "plot_all",
    "plot_basin_entropy",
    "plot_basin_times",
    "plot_bifurcation",
    "plot_boundary_scaling",
    "plot_comparison",
    "plot_continuation",
    "plot_critical_points",
    "plot_flow_comparison",
    "plot_learning_curves",
    "plot_loss_surface",
    "plot_optimizer_comparison",
    "plot_outcome_fractions",
    "plot_outcome_map",
    "plot_plane",
    "plot_problem",
    "plot_refined_map",
    "plot_refinement_cost",
    "plot_tipping",
]

_MODULES = {
    "animate_basins": "continuation",
    "plot_all": "gallery",
    "plot_basin_entropy": "measures",
    "plot_basin_times": "measures",
    "plot_bifurcation": "continuation",
    "plot_boundary_scaling": "measures",
    "plot_comparison": "outcome_maps",
    "plot_continuation": "continuation",
    "plot_critical_points": "critical_points",
    "plot_flow_comparison": "continuation",
    "plot_learning_curves": "learning_curves",
    "plot_loss_surface": "loss_surface",
    "plot_optimizer_comparison": "optimizers",
    "plot_outcome_fractions": "fractions",
    "plot_outcome_map": "outcome_maps",
    "plot_plane": "loss_surface",
    "plot_problem": "problems",
    "plot_refined_map": "refinement",
    "plot_refinement_cost": "refinement",
    "plot_tipping": "continuation",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
