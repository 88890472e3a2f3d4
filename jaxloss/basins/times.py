"""How many steps trajectories take to where they end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import ndtri

from jaxloss.basins.along import check_result, step_budget
from jaxloss.basins.fractions import wilson_interval
from jaxloss.basins.labels import outcome_codes, split_axes
from jaxloss.checks import number, real_array, whole
from jaxloss.errors import InputError


def convergence_times(
    result: Any,
    *,
    quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
    num_steps: int | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    r"""The steps until each trajectory stops, and for each outcome their mean and quantiles.

    A trajectory stops where the gradient is within its tolerance, where it no longer moves (of a map), or where it
    has diverged. One that has not stopped within its budget takes longer, by how much is not known: it counts as
    infinitely long in the quantiles, which are exact as far as they lie within the budget, and it is left out of the
    mean, which is then too low. ``num_stopped`` tells how many have stopped.

    The mean's interval is the normal one. A quantile's is free of any distribution: the same quantiles of the sample
    at the ends of Wilson's interval of :math:`q`. Both take the starts for independent draws.

    Args:
      result: of `jaxloss.sweep` or `jaxloss.sweep_map`, its starts on a lattice or sampled.
      quantiles: between 0 and 1.
      num_steps: the budget, where the result does not tell its own.
      confidence: of the intervals.

    Returns:
      Dimensions: the axes of the hyperparameters, ``outcome_name`` and ``quantile``. Variables: ``time`` (the map, in
      steps over all axes of the result, NaN where the trajectory did not stop), ``count``, ``num_stopped``, ``mean``
      with ``mean_low`` and ``mean_high``, ``quantile_time`` with ``quantile_low`` and ``quantile_high`` (infinite
      beyond the budget, NaN where the outcome does not occur).

    Raises:
      InputError: no result of a sweep, one that does not tell its budget, or quantiles out of range.

    References:
      Menck, Heitzig, Marwan and Kurths, *How basin stability complements the linear-stability paradigm*, 2013.
      Conover, *Practical Nonparametric Statistics*, 1999, section 3.2.

    Examples:
      >>> dims = ("w", "learning_rate")
      >>> variables = {"outcome": (dims, [[1], [1], [0]]), "num_steps": (dims, [[10], [30], [99]])}
      >>> times = convergence_times(xr.Dataset(variables), quantiles=[0.5], num_steps=99)
      >>> float(times["mean"].sel(outcome_name="global_minimum")[0]), times.time.values[:, 0].tolist()
      (20.0, [10.0, 30.0, nan])
    """
    check_result(result)
    if "num_steps" not in result:
        raise InputError("result must hold the variable 'num_steps', as the dataset of sweep or sweep_map does")
    levels = real_array("quantiles", quantiles, "numbers between 0 and 1").reshape(-1)
    if not levels.size or levels.min() < 0 or levels.max() > 1:
        raise InputError(f"quantiles must be one or more numbers between 0 and 1, not {quantiles}")
    if not 0 < number("confidence", confidence) < 1:
        raise InputError(f"confidence must lie between 0 and 1, not {confidence}")
    budget = step_budget(result) if num_steps is None else whole("num_steps", num_steps, 1)
    axes, names = split_axes(result)[1], outcome_codes(result)
    steps = result["num_steps"].astype(np.float64)
    time = steps.where(steps < budget)
    shape = [result.sizes[name] for name in axes]
    flat_time = time.transpose(*axes, ...).values.reshape(int(np.prod(shape)), -1)
    flat_outcome = result["outcome"].transpose(*axes, ...).values.reshape(flat_time.shape)
    cells = [
        _summary(flat_time[i][flat_outcome[i] == code], levels, confidence)
        for i in range(len(flat_time))
        for code in names.values()
    ]
    scalars = np.array([cell[0] for cell in cells]).reshape(*shape, len(names), 5)
    curves = np.array([cell[1] for cell in cells]).reshape(*shape, len(names), 3, len(levels))
    dims = (*axes, "outcome_name")
    variables: dict[str, Any] = {"time": time.assign_attrs(units="steps")}
    for i, name in enumerate(("count", "num_stopped", "mean", "mean_low", "mean_high")):
        variables[name] = (dims, scalars[..., i].astype(np.int64) if i < 2 else scalars[..., i])
    for i, name in enumerate(("quantile_time", "quantile_low", "quantile_high")):
        variables[name] = ((*dims, "quantile"), curves[..., i, :])
    coordinates = {name: result[name].values for name in axes if name in result.coords}
    return xr.Dataset(
        variables,
        coords={**coordinates, "outcome_name": list(names), "quantile": levels},
        attrs={"num_steps": budget},
    )


def _summary(times: np.ndarray, levels: np.ndarray, confidence: float) -> tuple[list[float], np.ndarray]:
    """Count, stopped, mean and its bounds; and quantiles with their bounds, ``[3, level]``."""
    stopped = times[~np.isnan(times)]
    mean = stopped.mean() if stopped.size else np.nan
    error = stopped.std(ddof=1) / np.sqrt(stopped.size) if stopped.size > 1 else np.nan
    half = ndtri(0.5 + confidence / 2) * error
    scalars = [times.size, stopped.size, mean, mean - half, mean + half]
    if not times.size:
        return scalars, np.full((3, len(levels)), np.nan)
    longest = np.sort(np.where(np.isnan(times), np.inf, times))
    low, high = wilson_interval(levels * times.size, times.size, confidence=confidence)
    # Times are those of the sample: an interpolated one would not be reached by any trajectory.
    rank = np.ceil(np.stack([levels, low, high]) * times.size).astype(int) - 1
    return scalars, longest[np.clip(rank, 0, times.size - 1)]
