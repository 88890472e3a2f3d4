"""What is known of trajectories does not depend on the blocks in which they are looked at."""

import numpy as np
import pytest

from jaxloss import Axis, Grid, load_problem, outcomes
from jaxloss.engine import computing_in
from jaxloss.evidence import Block, gather, survey
from jaxloss.runs import Ends, RunOptions, run_grid
from jaxloss.sweeps import validate

CASES = {
    "two-minima-binary": {"weight[0]": Axis.linear(-6, 6, 13), "weight[1]": Axis.linear(-6, 6, 11)},
    "single-relu": {"weight[0]": Axis.linear(-3, 3, 13), "bias": Axis.linear(-3, 3, 12)},
    "cubic-map": {"x": Axis.linear(-2.5, 2.5, 101)},
    "separable-but-stuck": {"weight[0]": Axis.linear(-3, 3, 9), "weight[1]": Axis.linear(-3, 3, 9)},
}


class Fresh(list):
    """Blocks that remember nothing from one look to the next, like those read from a disk."""

    def __getitem__(self, i):
        block = super().__getitem__(i)
        return Block(block.problem, block.ends, block.gradient_tolerance)

    def __iter__(self):
        return (self[i] for i in range(len(self)))


SLOW = ("two-minima-binary", "separable-but-stuck")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CASES])
def test_blocks_change_nothing(name):
    problem, tolerance = load_problem(name), 1e-6
    grid = Grid({**CASES[name], "learning_rate": Axis.log(0.05, 5.0, 3)})
    options = RunOptions(num_steps=400, gradient_tolerance=tolerance)
    bound = validate(problem, grid, options)
    ends, _ = run_grid(problem, bound, options, False)
    with computing_in("float64", problem):
        told = {"bounds": bound.initial_bounds(), "gradient_tolerance": tolerance, "seed": 0}
        findings, evidence = gather(problem, ends, **told)
        labels = outcomes.classify(evidence, findings.table.kind, findings.solves)
        for cuts in ([], [1], [40, 41, 90]):
            parts = zip(*(np.split(column, cuts) for column in ends), strict=True)
            blocks = Fresh(Block(problem, Ends(*part), tolerance) for part in parts)
            found = survey(problem, blocks, **told)
            assert (found.infimum, found.infimum_source) == (findings.infimum, findings.infimum_source)
            np.testing.assert_array_equal(found.table.location, findings.table.location)
            np.testing.assert_array_equal(found.solves, findings.solves)
            known = [block.evidence(found) for block in blocks]
            verdicts = [outcomes.classify(each, found.table.kind, found.solves) for each in known]
            for ours, theirs in zip(zip(*verdicts, strict=True), labels, strict=True):
                np.testing.assert_array_equal(np.concatenate(ours), theirs)
    assert len(np.unique(labels.outcome)) > 1
