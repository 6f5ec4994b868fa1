"""What `adaptive` claims: it decides as all samples would, on far fewer."""

import sys
from pathlib import Path

import numpy as np
import pytest

from laconic.selection.rules import select_band
from laconic.selection.stopping import MIN_ATTEMPTS, curtailed, first_round, next_samples, num_saved, settled, side_of
from laconic.statistics.solve_rate import ProblemStats, mass_inside, problem_stats
from laconic.types import Grade

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import adaptive_probe


def seen(name, grades):
    """A problem with these responses, each 10 tokens long."""
    return problem_stats(name, grades, [10] * len(grades))


def solved(name, correct, attempts, ungradable=0):
    """A problem solved `correct` times of `attempts`."""
    grades = [Grade.CORRECT] * correct + [Grade.WRONG] * (attempts - correct) + [Grade.UNGRADABLE] * ungradable
    return seen(name, grades)


def test_settled_asks_the_posterior_and_the_observed_rate():
    """10/16 in 0.3:0.9: mass 0.99. 1/16: 0.98 outside. 5/16: on the edge. 4/7: too few, however sure."""
    assert mass_inside(10, 6, 0.3, 0.9) > 0.95
    assert settled(10, 6, 0.3, 0.9, confidence=0.95) == "inside"
    assert settled(16, 1, 0.3, 0.9, confidence=0.95) == "outside"
    assert settled(16, 5, 0.3, 0.9, confidence=0.95) is None
    assert settled(MIN_ATTEMPTS - 1, 4, 0.3, 0.9, confidence=0.95) is None
    assert settled(0, 0, 0.3, 0.9, confidence=0.95) is None
    assert curtailed(0, 0, 0.3, 0.9, remaining=0) is None


def test_a_narrow_band_puts_nothing_outside_by_its_narrowness():
    """8/16 in 0.49:0.51: hardly any mass inside, but the rate is; 2/16 is outside by both."""
    assert mass_inside(16, 8, 0.49, 0.51) < 0.1
    assert settled(16, 8, 0.49, 0.51, confidence=0.9) is None
    assert settled(16, 2, 0.49, 0.51, confidence=0.9) == "outside"


@pytest.mark.parametrize("band", [(0.3, 0.9), (0.0625, 0.375), (0.5, 0.5), (0.0, 1.0)])
def test_curtailment_never_disagrees_with_the_end(band):
    """Every path through 12 samples: what is called decided holds for all that can follow, ungradable ones included."""
    low, high = band
    for attempts in range(13):
        for correct in range(attempts + 1):
            side = curtailed(attempts, correct, low, high, remaining=12 - attempts)
            futures = [
                (correct + more) / (attempts + drawn)
                for drawn in range(13 - attempts)
                for more in range(drawn + 1)
                if attempts + drawn
            ]
            inside = {low <= rate <= high for rate in futures}
            if side is not None:
                assert inside == {side == "inside"}
            elif attempts == 12:
                pytest.fail("the last sample decides")


def test_a_probe_goes_on_only_where_it_must():
    """Settled problems and finished ones get none; others a round, or what is left of their samples."""
    stats = [
        solved("inside", 12, 20),
        solved("outside", 0, 16),
        solved("edge", 5, 16),
        solved("nearly through", 18, 60),
        solved("through", 19, 64),
        seen("broken", [Grade.UNGRADABLE] * 60),
    ]
    asked = next_samples(stats, 0.3, 0.9, confidence=0.95, max_samples=64, round_size=8)
    assert asked == {"edge": 8, "nearly through": 4, "broken": 4}
    assert num_saved(stats, 64) == 44 + 48 + 48 + 4 + 0 + 4
    assert side_of(solved("a", 0, 61), 0.3, 0.9, 0.95, 64) == "outside"


def test_the_first_round_is_large_enough_to_settle_something():
    """At least 8, whatever the round; never more than the whole."""
    assert [first_round(64, 4), first_round(64, 16), first_round(6, 16)] == [8, 16, 6]


def test_wrong_arguments_of_the_probe_are_named():
    """Bands upside down, a confidence that any coin has, no round, more correct than attempts."""
    for call, says in [
        (lambda: settled(8, 4, 0.9, 0.3, 0.9), "band"),
        (lambda: settled(8, 4, 0.3, 0.9, 0.5), "confidence"),
        (lambda: settled(8, 9, 0.3, 0.9, 0.9), "correct"),
        (lambda: next_samples([], 0.3, 0.9, 0.9, 64, 0), "round_size"),
    ]:
        with pytest.raises(ValueError, match=says):
            call()


@pytest.mark.parametrize("population", sorted(adaptive_probe.POPULATIONS))
@pytest.mark.parametrize("band", adaptive_probe.BANDS)
def test_it_decides_as_64_samples_do_on_less_than_half_of_them(band, population):
    """Computed exactly for every solve rate: agreement at least 95%, at most 32 samples a problem."""
    outcome = adaptive_probe.outcome(adaptive_probe.CHOSEN, *band)
    agreement, samples = outcome.over(adaptive_probe.POPULATIONS[population])
    assert agreement >= 0.95
    assert samples <= 32


def test_a_rule_that_is_sure_of_nothing_agrees_and_saves_little():
    """Curtailment alone: all 64-sample decisions, on more than half the samples. One that is sure too soon disagrees."""
    exact = adaptive_probe.outcome(adaptive_probe.Rule(None, 8), 0.3, 0.9)
    agreement, samples = exact.over(adaptive_probe.POPULATIONS["testbed"])
    assert agreement == pytest.approx(1.0)
    assert samples > 40
    hasty = adaptive_probe.outcome(adaptive_probe.Rule(0.8, 4), 0.3, 0.9)
    assert hasty.over(adaptive_probe.POPULATIONS["testbed"])[0] < 0.95


def test_probing_round_by_round_keeps_what_64_samples_keep():
    """300 simulated problems through `next_samples` to its end, then `select_band`, beside 64 samples each: >= 95% alike."""
    rng = np.random.default_rng(0)
    weights = np.array(adaptive_probe.POPULATIONS["testbed"]) / 240
    rates = (rng.choice(10, 300, p=weights) + rng.random(300)) / 10
    flips = rng.random((300, 64)) < rates[:, None]
    responses = {
        f"p{row}": [Grade.CORRECT if flip else Grade.WRONG for flip in flips[row]] for row in range(len(flips))
    }
    drawn = dict.fromkeys(responses, first_round(64, 8))
    while True:
        stats: list[ProblemStats] = [seen(name, grades[: drawn[name]]) for name, grades in responses.items()]
        asked = next_samples(stats, 0.3, 0.9, confidence=0.9, max_samples=64, round_size=8)
        if not asked:
            break
        drawn |= {name: drawn[name] + more for name, more in asked.items()}
    whole = [seen(name, grades) for name, grades in responses.items()]
    pairs = zip(select_band(stats, 0.3, 0.9), select_band(whole, 0.3, 0.9), strict=True)
    assert np.mean([few.is_kept == all_.is_kept for few, all_ in pairs]) >= 0.95
    assert num_saved(stats, 64) > 300 * 32
