"""Measures of outcome maps."""

from jaxloss.basins.boundary import Bisection, EdgeState, MinimalShock, bisect, minimal_shock, track_edge
from jaxloss.basins.continuation import continue_attractors
from jaxloss.basins.control import smooth_control
from jaxloss.basins.dimension import BoxCountingDimension, box_counting_dimension
from jaxloss.basins.disagreement import Disagreement, disagreement
from jaxloss.basins.entropy import BasinEntropy, basin_entropy, box_entropies
from jaxloss.basins.fractality import BoundaryFractality, is_boundary_fractal, straight_entropy
from jaxloss.basins.fractions import Interval, outcome_fractions, wilson_interval
from jaxloss.basins.summary import measure_map, measure_result
from jaxloss.basins.times import convergence_times
from jaxloss.basins.tipping import tipping_probabilities
from jaxloss.basins.totals import group_fractions
from jaxloss.basins.trainability import TrainabilityDimension, trainability_dimension
from jaxloss.basins.uncertainty import UncertaintyExponent, uncertainty_exponent
from jaxloss.basins.wada import Wada, is_wada

__all__ = [
    "BasinEntropy",
    "Bisection",
    "BoundaryFractality",
    "BoxCountingDimension",
    "Disagreement",
    "EdgeState",
    "Interval",
    "MinimalShock",
    "TrainabilityDimension",
    "UncertaintyExponent",
    "Wada",
    "basin_entropy",
    "bisect",
    "box_counting_dimension",
    "box_entropies",
    "continue_attractors",
    "convergence_times",
    "disagreement",
    "group_fractions",
    "is_boundary_fractal",
    "is_wada",
    "measure_map",
    "measure_result",
    "minimal_shock",
    "outcome_fractions",
    "smooth_control",
    "straight_entropy",
    "tipping_probabilities",
    "track_edge",
    "trainability_dimension",
    "uncertainty_exponent",
    "wilson_interval",
]
