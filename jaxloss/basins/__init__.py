"""Measures of outcome maps."""

from jaxloss.basins.fractions import Interval, outcome_fractions, wilson_interval

__all__ = ["Interval", "outcome_fractions", "wilson_interval"]
