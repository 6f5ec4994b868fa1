"""`laconic export`: the commands, and the mistakes of those who call them."""

import shlex

import pytest
from folders import BASE, Run


def test_a_shipped_recipe_becomes_a_folder_for_verl(laconic, tmp_path):
    changes = ["phases.limit_96.optimizer.schedule=cosine", "phases.limit_96.steps=2"]
    code, out, err = laconic("export", "verl", "thinkprune", *changes, "--phase", "limit_96", "--out", "out")
    assert (code, err) == (0, "")
    assert (
        "note: The phase begins with what 'limit_128' made: give its weights as model=FOLDER; here it is tiny." in out
    )
    assert out.splitlines()[-1] == "out: 64 rows of problems; train with  sh out/run.sh"
    assert (tmp_path / "out" / "run.sh").exists()


def test_problems_become_a_task_for_lm_eval(laconic, tmp_path):
    code, out, _ = laconic(
        "export", "lm-eval", "tiny:mix?count=3", "--out", "task", "--temperature", 0, "--max-tokens", 50
    )
    assert code == 0 and "--include_path task --tasks laconic_tiny_mix_count_3 " in out
    task = (tmp_path / "task" / "laconic_tiny_mix_count_3.yaml").read_text("utf-8")
    assert "repeats: 1\n" in task and '"max_gen_toks": 50' in task


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("verl", "thinkprune"), "--phase limit_128 | limit_96 | limit_64"),
        (("verl", "dler"), "phases.truncation.optimizer.schedule: verl's rates are constant or fall as a cosine"),
        (("verl", "nothing"), "nothing: cannot be read (no such file, no recipe of that name)"),
        (("verl", "dler", "--out", "taken"), "--out taken: stands already; expected a new folder"),
        (("lm-eval", "tiny:mix?count=3", "--out", "taken"), "--out taken: stands already; expected a new folder"),
        (("lm-eval", "aime99"), "aime99: no such source"),
        (("lm-eval", "tiny:mix?count=3", "--prompt", "be_concis"), "prompt 'be_concis': no such name"),
        (("lm-eval", "tiny:mix?count=3", "--temperature", "nan"), "'--temperature': Input should be"),
        (("lm-eval", "tiny:mix?count=3", "--temperature", 1e9), "--temperature: expected 0 (greedy decoding) or 0.01"),
        (("lm-eval", "tiny:mix?count=3", "--samples", 10**12), "--samples: expected at most 65,536"),
        (("lm-eval", "tiny:mix?count=3", "--max-tokens", 10**18), "--max-tokens: expected at most 1,000,000,000"),
        (("verl", "dler", "--out", "a${b}"), "verl's settings take '${' for a reference"),
        (("inspect", "run", "--out", "run/summary.json"), "exists and is no log of inspect_ai; choose another name"),
        (("inspect", "nowhere"), "nowhere: no evaluation here"),
        (("inspect", "run", "--out", "log.txt"), "--out log.txt: expected a name that ends in .eval or .json"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, complaint, laconic, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").touch()
    Run(BASE).write(tmp_path / "run")
    code, out, err = laconic("export", *arguments)
    assert (code, out) == (2, "") and complaint in err and len(err.splitlines()) <= 2, err


def test_the_command_for_verl_holds_a_folder_of_any_name(laconic, tmp_path):
    """In a shell `$(...)` would be run, and a quote would end the name."""
    name = 'a "b" $(c)'
    code, out, err = laconic("export", "verl", "thinkprune", "phases.limit_96.optimizer.schedule=cosine",
        "phases.limit_96.steps=2", "--phase", "limit_96", "--out", name)  # fmt: skip
    command = (tmp_path / name / "run.sh").read_text("utf-8").splitlines()[-1]
    assert (code, err) == (0, "") and str(tmp_path / name) in shlex.split(command)
    assert shlex.split(out.rpartition("train with")[2]) == ["sh", f"{name}/run.sh"]
