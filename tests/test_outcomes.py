import inspect

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from jaxloss import outcomes
from jaxloss.critical_points.kinds import DEGENERATE, MAXIMUM, STRICT_MINIMUM, STRICT_SADDLE
from jaxloss.outcomes import NAMES, OUTCOMES, SOLVED, TRAPPED, UNSTABLE, Evidence, classify, stalled

examples = settings(deadline=None, derandomize=True, max_examples=30)

# A table of critical points: each kind at the infimum and above it.
KINDS = np.array([STRICT_MINIMUM, STRICT_MINIMUM, STRICT_SADDLE, MAXIMUM, DEGENERATE, DEGENERATE])
SOLVES = np.array([True, False, False, False, True, False])
GLOBAL, SPURIOUS, SADDLE, TOP, VALLEY, LEDGE = range(6)

NOTHING = {
    "diverged": False,
    "period": 0,
    "chaotic": False,
    "settled": False,
    "dead": False,
    "captured": -1,
    "at_infimum": False,
    "to_infinity": False,
    "stalled": False,
}


def label(**facts):
    """Name of the outcome and the attractor of one trajectory; what is not said is not known of it."""
    evidence = Evidence(**{name: np.array([value]) for name, value in (NOTHING | facts).items()})
    found = classify(evidence, KINDS, SOLVES)
    return NAMES[found.outcome[0]], int(found.attractor[0])


class TestCodes:
    def test_a_code_never_changes_its_meaning(self):
        assert OUTCOMES == {
            "unfinished": 0,
            "global_minimum": 1,
            "infimum_at_infinity": 2,
            "spurious_minimum": 3,
            "plateau": 4,
            "dead": 5,
            "saddle": 6,
            "cycle": 7,
            "chaotic": 8,
            "diverged": 9,
        }
        assert [OUTCOMES[name] for name in NAMES] == list(range(10))

    def test_groups(self):
        assert [sorted(group) for group in (SOLVED, TRAPPED, UNSTABLE)] == [[1, 2], [3, 4, 5, 6], [7, 8, 9]]

    def test_types(self):
        evidence = Evidence(**{name: np.array([value] * 3) for name, value in NOTHING.items()})
        found = classify(evidence, KINDS, SOLVES)
        assert (found.outcome.dtype, found.attractor.dtype) == (np.int8, np.int32)
        assert found.outcome.shape == found.attractor.shape == (3,)

    def test_no_trajectory_and_no_critical_point(self):
        empty = Evidence(*(np.array([value])[:0] for value in NOTHING.values()))
        assert classify(empty, KINDS, SOLVES).outcome.shape == (0,)
        one = Evidence(*(np.array([value]) for value in (NOTHING | {"settled": True}).values()))
        assert classify(one, np.array([], dtype=object), np.array([], dtype=bool)).outcome.tolist() == [4]


class TestOneFact:
    """Each fact alone gives the outcome that the design says."""

    @pytest.mark.parametrize(
        ("facts", "outcome", "attractor"),
        [
            ({}, "unfinished", -1),
            ({"diverged": True}, "diverged", -1),
            ({"period": 2}, "cycle", -1),
            ({"period": 1}, "unfinished", -1),
            ({"chaotic": True}, "chaotic", -1),
            ({"dead": True}, "dead", -1),
            ({"captured": GLOBAL}, "global_minimum", GLOBAL),
            ({"captured": SPURIOUS}, "spurious_minimum", SPURIOUS),
            ({"captured": SADDLE}, "saddle", SADDLE),
            ({"captured": TOP}, "saddle", TOP),
            ({"captured": VALLEY}, "global_minimum", VALLEY),
            ({"captured": LEDGE, "settled": True}, "plateau", -1),
            ({"to_infinity": True}, "infimum_at_infinity", -1),
            ({"settled": True}, "plateau", -1),
            ({"stalled": True}, "plateau", -1),
            ({"settled": True, "at_infimum": True}, "global_minimum", -1),
            # The value of the loss alone solves nothing.
            ({"at_infimum": True}, "unfinished", -1),
        ],
    )
    def test_outcome(self, facts, outcome, attractor):
        assert label(**facts) == (outcome, attractor)


class TestOrderOfRules:
    """The first rule that matches wins: 9, 7 and 8, 5, the critical points, 2, 4, 0."""

    ranks = (
        ({"diverged": True}, "diverged"),
        ({"period": 3}, "cycle"),
        ({"chaotic": True}, "chaotic"),
        ({"dead": True}, "dead"),
        ({"captured": GLOBAL, "settled": True}, "global_minimum"),
        ({"to_infinity": True, "settled": True}, "infimum_at_infinity"),
        ({"settled": True}, "plateau"),
        ({"stalled": True}, "plateau"),
        ({}, "unfinished"),
    )

    @pytest.mark.parametrize("i", range(len(ranks)))
    @pytest.mark.parametrize("j", range(len(ranks)))
    def test_the_earlier_of_two_wins(self, i, j):
        (first, outcome), (second, _) = self.ranks[min(i, j)], self.ranks[max(i, j)]
        assert label(**second | first)[0] == outcome

    @pytest.mark.parametrize("captured", [GLOBAL, SPURIOUS, SADDLE, TOP, VALLEY])
    def test_every_critical_point_goes_before_infinity_and_plateaus(self, captured):
        alone = label(captured=captured)
        assert label(captured=captured, to_infinity=True, settled=True, stalled=True, at_infimum=True) == alone

    @pytest.mark.parametrize("facts", [rank[0] for rank in ranks[:4]])
    def test_what_goes_before_critical_points_has_no_attractor(self, facts):
        assert label(**facts | {"captured": SPURIOUS})[1] == -1

    def test_all_at_once(self):
        everything = {name: True for name in NOTHING} | {"period": 2, "captured": GLOBAL}
        assert label(**everything) == ("diverged", -1)

    @examples
    @given(st.data())
    def test_each_trajectory_is_judged_by_itself(self, data):
        fact = st.fixed_dictionaries(
            {name: st.booleans() for name in NOTHING} | {"period": st.integers(0, 3), "captured": st.integers(-1, 5)}
        )
        facts = data.draw(st.lists(fact, min_size=1, max_size=6))
        evidence = Evidence(*(np.array([one[name] for one in facts]) for name in Evidence._fields))
        found = classify(evidence, KINDS, SOLVES)
        alone = [label(**one) for one in facts]
        assert [NAMES[code] for code in found.outcome] == [outcome for outcome, _ in alone]
        assert found.attractor.tolist() == [attractor for _, attractor in alone]

    @examples
    @given(st.data())
    def test_solved_means_at_the_infimum(self, data):
        # Whatever else is known: an outcome that counts as solved rests on a loss that is the infimum.
        facts = data.draw(
            st.fixed_dictionaries(
                {name: st.booleans() for name in NOTHING}
                | {"period": st.integers(0, 2), "captured": st.integers(-1, 5)}
            )
        )
        outcome, attractor = label(**facts)
        if OUTCOMES[outcome] in SOLVED:
            assert facts["to_infinity"] or facts["at_infimum"] or SOLVES[attractor]
            assert attractor == -1 or SOLVES[attractor]


def creeping(loss, gradient_norm, size=1.0, limit=np.inf, gained=0.0, infimum=0.0):
    one = [np.array([value]) for value in (loss, loss + gained, gradient_norm, size, limit)]
    return bool(stalled(*one, infimum)[0])


class TestStalled:
    def test_knows_no_learning_rate_and_no_step(self):
        names = set(inspect.signature(stalled).parameters)
        assert names == {"loss", "midpoint_loss", "gradient_norm", "size", "limit", "infimum"}
        assert not any("rate" in name or "step" in name for name in Evidence._fields)

    @examples
    @given(x=st.floats(1e-3, 1e3), curvature=st.floats(1e-3, 1e3))
    def test_no_point_of_a_parabola_is_a_plateau(self, x, curvature):
        # Half the distance to the minimum times the gradient is what there is to be gained; so even a
        # trajectory that a tiny learning rate has not moved at all has not stalled.
        assert not creeping(curvature * x**2 / 2, curvature * x, size=x)

    @examples
    @given(slope=st.floats(1e-3, 1e3), distance=st.floats(1e-3, 1e3))
    def test_no_point_of_a_cone_is_a_plateau(self, slope, distance):
        assert not creeping(slope * distance, slope, size=distance)

    def test_a_flat_region_above_the_infimum_is(self):
        assert creeping(0.5, 1e-4, size=9.0)

    def test_not_where_it_still_gains(self):
        assert creeping(0.5, 1e-4, gained=0.004)
        assert not creeping(0.5, 1e-4, gained=0.006)

    def test_not_at_the_infimum(self):
        assert not creeping(0.25, 1e-4, infimum=0.25)

    def test_a_descending_ray_with_little_to_gain_is_a_plateau(self):
        assert creeping(0.5, 1.0, limit=0.496)
        assert not creeping(0.5, 1.0, limit=0.2)
        assert not creeping(0.5, 1.0, limit=np.inf)

    @examples
    @given(shift=st.floats(-10, 10), scale=st.floats(0.1, 10), gradient=st.floats(1e-4, 1), gained=st.floats(0, 0.02))
    def test_neither_units_nor_the_zero_of_the_loss_matter(self, shift, scale, gradient, gained):
        # Away from the thresholds, where rounding decides.
        if min(abs(gradient * 2 - 0.02), abs(gained - 0.01)) < 1e-6:
            return
        plain = creeping(1.0, gradient, gained=gained)
        shifted = creeping(scale + shift, gradient * scale, gained=gained * scale, infimum=shift)
        assert plain == shifted

    def test_what_is_not_finite_has_not_stalled(self):
        assert not creeping(np.nan, np.nan)
        assert not creeping(np.inf, 1.0)

    def test_thresholds_are_shares(self):
        assert 0 < outcomes.STALLED_GAIN < 1
        assert 0 < outcomes.FLAT_SHARE < 0.5
