"""What there is to end at: critical points, and behaviour at infinity."""

from jaxloss.critical_points.search import find_critical_points

__all__ = ["find_critical_points"]
