"""A probe attempts problems until it is clear on which side of the band they lie, and outlives a kill."""

import pytest
from scripted import PROBLEMS, ScriptedSampler, scripted_solver

from laconic.config.solver import SamplerConfig
from laconic.grading.grader import Grader
from laconic.selection.probe import Band, probe_to_file, read_probe

DECODING = SamplerConfig(max_tokens=64, batch_size=2)


@pytest.fixture(scope="module")
def grader():
    with Grader() as pool:
        yield pool


def steady(key, sample, _turn):
    """Problem i is solved in i of 9 samples, evenly spread: p0 never, p9 always."""
    number = int(key[1:])
    return str(2 * number if (sample * 7) % 9 < number else -1), 20 + sample


def test_an_adaptive_probe_decides_as_the_full_one_with_fewer_samples(grader, tmp_path):
    full = probe_to_file(
        scripted_solver(ScriptedSampler(steady), grader), PROBLEMS, 64, DECODING, tmp_path / "f.jsonl", seed=0
    )
    adaptive = probe_to_file(
        scripted_solver(ScriptedSampler(steady), grader),
        PROBLEMS,
        64,
        DECODING,
        tmp_path / "a.jsonl",
        seed=0,
        band=Band(0.3, 0.9),
    )
    inside = [[0.3 <= stat.solve_rate <= 0.9 for stat in stats] for stats in (full, adaptive)]
    assert inside[0] == inside[1]
    assert sum(stat.attempts for stat in adaptive) < 0.5 * sum(stat.attempts for stat in full) == 320
    assert adaptive[0].attempts == 8  # 0 of 8: 3% of its posterior lies above 0.3


def test_a_killed_probe_is_taken_up_where_it_stopped(grader, tmp_path):
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    sampler = ScriptedSampler(steady)
    probe_to_file(scripted_solver(sampler, grader), PROBLEMS, 32, DECODING, whole, seed=0, band=Band(0.3, 0.9))
    with pytest.raises(KeyboardInterrupt):
        broken = scripted_solver(ScriptedSampler(steady, fail_at=12), grader)
        probe_to_file(broken, PROBLEMS, 32, DECODING, killed, seed=0, band=Band(0.3, 0.9))
    assert not killed.exists()
    again = ScriptedSampler(steady)
    probe_to_file(scripted_solver(again, grader), PROBLEMS, 32, DECODING, killed, seed=0, band=Band(0.3, 0.9))
    assert len(again.calls) == len(sampler.calls) - 12
    assert killed.read_bytes() == whole.read_bytes()
    assert (tmp_path / "killed.samples.jsonl").read_bytes() == (tmp_path / "whole.samples.jsonl").read_bytes()


def test_a_probe_keeps_the_shortest_correct_length(grader, tmp_path):
    """p9 is always right, at 20 tokens and up; p1 is right where sample * 7 % 9 == 0: at samples 0 and 9."""
    probe_to_file(
        scripted_solver(ScriptedSampler(steady), grader), PROBLEMS, 16, DECODING, tmp_path / "p.jsonl", seed=0
    )
    _, stats = read_probe(tmp_path / "p.jsonl")
    assert (stats[9].min_correct_tokens, stats[1].min_correct_tokens, stats[0].min_correct_tokens) == (20, 20, None)
    assert stats[1].correct == 2
