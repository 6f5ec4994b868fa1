"""What reward terms remember between steps: each rule's arithmetic, and that JSON loses nothing of it."""

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from rewarded import group

from laconic.rewards.laser import choose_target
from laconic.rewards.numbers import Memory
from laconic.rewards.paying import check_terms, pay, remember
from laconic.rewards.table import REWARDS

REMEMBERING = sorted(name for name, reward in REWARDS.items() if reward.remember)


def step(memory, name, groups, **options):
    """The memory after a step of one term; `groups` are (lengths, grades)."""
    numbers = {f"p{i}": group(*entry) for i, entry in enumerate(groups)}
    return remember(memory, [(name, 1.0, options)], numbers)


def test_hapo_remembers_the_shortest_correct_length_of_each_problem():
    """300, then 250, then a longer 400; a shorter wrong answer does not count; problems are kept apart."""
    memory = step(Memory(), "hapo", [([300, 100], "CW"), ([70, 90], "WT")])
    assert memory.of("p0") == {"hapo/shortest_correct": 300.0}
    assert memory.of("p1") == {}
    memory = step(step(memory, "hapo", [([250, 280], "CC")]), "hapo", [([400], "C"), ([90], "C")])
    assert memory.problems == {"p0": {"hapo/shortest_correct": 250.0}, "p1": {"hapo/shortest_correct": 90.0}}


def test_hapo_pays_by_what_was_seen_before_the_step():
    """The step that finds 100 tokens is still paid against 200."""
    memory = Memory({"p0": {"hapo/shortest_correct": 200.0}})
    before = REWARDS["hapo"].pay(group([100], "C", memory=memory.of("p0")))
    after = REWARDS["hapo"].pay(group([100], "C", memory=step(memory, "hapo", [([100], "C")]).of("p0")))
    assert before == pytest.approx([1.0 + 0.5**0.5], abs=1e-12)
    assert after == pytest.approx([1.0], abs=1e-12)


def test_choose_target_is_the_shortest_length_that_expects_one_correct_answer():
    """0, 2, 5, 10 of 10 are within four lengths: with 5 correct at least 2/10 * 5 = 1, with 2: 5/10 * 2 = 1, with 1: all."""
    covered = np.array([0, 2, 5, 10])
    assert [choose_target(covered, n) for n in (5, 2, 1)] == [1, 2, 3]


def test_laser_d_chooses_targets_every_so_many_steps():
    """Cap 1,000, sixteenths of 62.5. High, K = 8: 1/8 * floor(16/3) = 0.625 within 125, 2/8 * 5 within 250; low: all, 500."""
    high = ([100, 240, 400, 400, 400, 400, 400, 400], "CCCCCCCC")
    low = ([300, 500], "WW")
    memory = step(Memory(), "laser_d", [high, low], every=2)
    assert "laser_d/target_high" not in memory.shared
    memory = step(memory, "laser_d", [high, low], every=2)
    assert (memory.shared["laser_d/target_high"], memory.shared["laser_d/target_low"]) == (250.0, 500.0)
    assert "laser_d/target_medium" not in memory.shared  # nothing seen of it: the first target stays
    assert (memory.shared["laser_d/steps"], memory.shared["laser_d/covered_high"]) == (0.0, [])


def test_laser_d_pays_by_the_targets_it_chose_and_laser_de_keeps_its_own():
    """An all-correct group of 8 is of high solve rate: 125 tokens are within, 126 not."""
    seen = [([100, 120, 400, 400, 400, 400, 400, 400], "CCCCCCCC")]
    memory = step(Memory(), "laser_d", seen, every=1)
    assert REWARDS["laser_d"].pay(group([125, 126], "CC", memory=memory.of("p9"))).tolist() == [0.5, 0.0]
    assert not any(key.startswith("laser_de") for key in memory.shared)
    assert step(memory, "laser_de", seen, every=1).shared["laser_de/target_high"] == 125.0
    with pytest.raises(ValueError, match="every"):
        step(memory, "laser_d", seen, every=0)


def test_lead_moves_its_weight_by_what_each_part_still_has_to_teach():
    """Reckoned in the comments; L* = 200 and 400, least target 1."""
    memory = step(Memory(), "lead", [([100, 300], "CC"), ([400, 400], "CW")], min_target_tokens=1)
    # c: means 1 and 1/2, mean 0.75; variance (0 + 1/4) / 2 + 1/16 = 0.1875: variation 0.4330 / 0.75 = 0.57735
    # e of correct ones: 0.5, 0.5 and 1: means 0.5 and 1, mean 0.75; variance 0 + 1/16: variation 0.25 / 0.75 = 0.33333
    # D_c = 0.57735 / 0.91068 * (1 - 0.75) = 0.158494, D_e = 0.33333 / 0.91068 * (1 - 0.75) / 2 = 0.045753
    share = 0.158494 / (0.158494 + 0.045753)
    assert memory.shared["lead/correct_weight"] == pytest.approx(0.95 * 0.5 + 0.05 * share, abs=1e-5)


def test_lead_keeps_its_weight_where_nothing_is_left_or_nothing_was_graded():
    """All correct at the target: both worths are 0. All ungradable: no statistics."""
    memory = Memory().with_shared({"lead/correct_weight": 0.4})
    assert step(memory, "lead", [([200, 200], "CC")], min_target_tokens=1) == memory
    assert step(memory, "lead", [([200, 200], "UU")], min_target_tokens=1) == memory


def test_lead_puts_the_weight_on_correctness_while_nobody_solves_anything():
    """No correct answer: efficiency has no figures, its worth is 0, the share of correctness 1: 0.95 * 0.5 + 0.05."""
    memory = step(Memory(), "lead", [([200, 300], "WW"), ([200, 300], "WT")], min_target_tokens=1)
    assert memory.shared["lead/correct_weight"] == pytest.approx(0.525, abs=1e-9)


def test_acoer_averages_accuracy_and_correct_length():
    """Span 3 moves by half: accuracy 1 then 0: 0.5; a step without a correct answer leaves the length."""
    memory = step(Memory(), "acoer", [([100, 300], "CC")], ema_span=3)
    assert (memory.shared["acoer/accuracy"], memory.shared["acoer/correct_tokens"]) == (1.0, 200.0)
    memory = step(memory, "acoer", [([50, 60], "WW")], ema_span=3)
    assert (memory.shared["acoer/accuracy"], memory.shared["acoer/correct_tokens"]) == (0.5, 200.0)
    assert "acoer/weight" not in memory.shared  # within the warm-up


def test_acoer_raises_its_weight_while_accuracy_holds_and_lowers_it_when_it_falls():
    """No warm-up, window 2. Step 2 holds: 0.1 * 1.5, budget 0.85 * 200. Step 3 falls by half: 0.15 * 0.5."""
    options = {"warmup": 0, "window": 2, "ema_span": 3, "first_weight": 0.1, "raise_by": 1.5, "lower_by": 0.5}
    memory = step(Memory(), "acoer", [([200, 200], "CC")], min_budget_tokens=10, **options)
    assert "acoer/weight" not in memory.shared
    memory = step(memory, "acoer", [([200, 200], "CC")], min_budget_tokens=10, **options)
    assert memory.shared["acoer/weight"] == pytest.approx(0.15)
    assert memory.shared["acoer/budget_tokens"] == pytest.approx(170.0)
    memory = step(memory, "acoer", [([200, 200], "WW")], min_budget_tokens=512, **options)
    assert memory.shared["acoer/weight"] == pytest.approx(0.075)
    assert memory.shared["acoer/budget_tokens"] == 512.0
    assert len(memory.shared["acoer/accuracies"]) == 2


def test_acoer_waits_for_the_end_of_its_warm_up():
    """Warm-up 3: the fourth step is the first that moves the weight; it stays within its bounds."""
    memory = Memory()
    for _ in range(3):
        memory = step(memory, "acoer", [([200], "C")], warmup=3, window=1)
    assert "acoer/weight" not in memory.shared
    memory = step(memory, "acoer", [([200], "C")], warmup=3, window=1)
    assert memory.shared["acoer/weight"] == pytest.approx(0.02 * 1.02)
    memory = step(memory, "acoer", [([200], "C")], warmup=3, window=1, raise_by=1000.0)
    assert memory.shared["acoer/weight"] == 0.5


def test_acoer_keeps_its_budget_while_no_correct_length_is_known():
    """Nobody ever correct: the weight may move, the budget stays the cap."""
    memory = step(step(Memory(), "acoer", [([9], "W")], warmup=0, window=1), "acoer", [([9], "W")], warmup=0, window=1)
    assert "acoer/weight" in memory.shared
    assert "acoer/budget_tokens" not in memory.shared


def test_short_rl_remembers_the_last_and_the_best_accuracy():
    """1/2, then 1, then 1/4 (over all groups); with decay 0.5 the last is a moving one."""
    memory = step(Memory(), "short_rl", [([9, 9], "CW")])
    memory = step(memory, "short_rl", [([9, 9], "CC")])
    memory = step(memory, "short_rl", [([9, 9], "WW"), ([9, 9, 9], "CWU")])
    assert memory.shared == {"short_rl/accuracy": 0.25, "short_rl/best_accuracy": 1.0}
    assert step(memory, "short_rl", [([9], "C")], ema_decay=0.5).shared["short_rl/accuracy"] == 0.625


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_step_that_could_not_be_graded_changes_no_statistic(name):
    """Only a count of steps may move: what could not be graded says nothing."""
    memory = step(Memory(), name, [([100, 200, 300], "UUU")])
    known = {key: value for key, value in memory.shared.items() if not key.endswith("/steps")}
    assert memory.problems == {}
    assert all(value == [0.0] * 16 for value in known.values())


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_memory_through_json_goes_on_exactly_as_before(name):
    """Six steps at once, and six with a resumption from text after each: the same memory, the same JSON, the same pay."""
    options = {"laser_d": {"every": 2}, "laser_de": {"every": 2}, "acoer": {"warmup": 1, "window": 2}}.get(name, {})
    options = {"min_target_tokens": 1.0} if name == "lead" else options
    steps = [[([100 + 37 * i, 311, 200], "CCW"), ([333, 90 + i, 700], "WCT")] for i in range(6)]
    straight = resumed = Memory()
    for groups in steps:
        straight = step(straight, name, groups, **options)
        resumed = Memory.from_json(json.loads(json.dumps(step(resumed, name, groups, **options).to_json())))
    assert resumed == straight
    assert json.dumps(resumed.to_json()) == json.dumps(straight.to_json())
    terms = [(name, 1.0, options)]
    paid = [pay(group([100, 300], "CW", memory=memory.of("p0")), terms)[0] for memory in (straight, resumed)]
    assert paid[0].tolist() == paid[1].tolist()


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_row_says_after_how_many_steps_its_term_pays_by_what_it_remembers(name):
    """Shown the same two groups step after step: after that many steps, and not before, the pay is another than at first."""
    options = {"laser_d": {"every": 3}, "laser_de": {"every": 3}, "acoer": {"warmup": 2, "window": 2}}.get(name, {})
    options |= {"lead": {"min_target_tokens": 1.0}, "short_rl": {"length_tolerance": 1.0}}.get(name, {})
    options |= {"acoer": {"min_budget_tokens": 9.0}}.get(name, {})
    term = [(name, 1.0, options)]
    seen = [([100, 300, 60, 400], "CCWW"), ([300, 500, 70, 90], "CWWW")]
    memory, first = Memory(), pay(group(*seen[0], memory={}), term)[0].tolist()
    after = int(REWARDS[name].acts_after({**REWARDS[name].defaults, **options}))
    for number in range(1, after + 1):
        memory = step(memory, name, seen, **options)
        now = pay(group(*seen[0], memory=memory.of("p0")), term)[0].tolist()
        assert (now != first) == (number == after)


def test_terms_without_a_memory_remember_nothing_and_rules_do_not_meddle():
    """`levels` leaves the memory as it was; each rule writes only under its own name."""
    numbers = {"p": group([100, 300], "CW")}
    assert remember(Memory(), [("levels", 1.0, {}), ("kimi_length", 0.5, {})], numbers) == Memory()
    for name in REMEMBERING:
        memory = remember(Memory(), [(name, 1.0, {})], numbers)
        keys = [*memory.shared, *(key for told in memory.problems.values() for key in told)]
        assert keys
        assert all(key.startswith(f"{name}/") for key in keys)


def test_a_memorys_options_are_options_of_its_term():
    """`every` belongs to the rule, `bonus` to the term: both are known, handed to whom they belong; others are refused."""
    terms = [("laser_d", 1.0, {"every": 1, "bonus": 0.25})]
    numbers = group([100, 300], "CC")
    assert pay(numbers, terms)[0].tolist() == [0.25, 0.0]
    assert remember(Memory(), terms, {"p": numbers}).shared["laser_d/steps"] == 0.0
    with pytest.raises(ValueError, match="no option 'evry'; it has: target_tokens, bonus, every"):
        check_terms([("laser_d", 1.0, {"evry": 1})])


def test_a_memory_is_frozen_and_its_json_is_checked():
    """Nobody writes to it; a file of something else is refused in one line."""
    with pytest.raises(FrozenInstanceError):
        Memory().shared = {}
    for told in ({}, {"problems": {}}, [1], {"problems": {}, "shared": {}, "more": 1}):
        with pytest.raises(ValueError, match="reward memory: expected an object with problems and shared"):
            Memory.from_json(told)
    for told in (
        {"problems": [], "shared": {}},
        {"problems": {}, "shared": {"a": None}},
        {"problems": {"p": 1}, "shared": {}},
    ):
        with pytest.raises(ValueError, match="reward memory: expected numbers by name, got"):
            Memory.from_json(told)
