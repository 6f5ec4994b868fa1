"""The command line: what it says, with which exit code, and what it leaves alone."""

import inspect
import json
import os
import resource
import signal
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
from small import save_small_model, write_small_recipe

from laconic.cli import app as cli
from laconic.cli.catalogue import CATALOGUE
from laconic.config.defaults import BAND_CONFIDENCE, MARGIN, SEED, SERVE_PORT, STORE_ADDRESS, TOKENS_MARGIN
from laconic.errors import InputError
from laconic.system.files import check_file
from laconic.training.run_directory import RunDirectory


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("models") / "small")


MOST_BARE_STARTS = 12
"""How many times the processor time of a bare interpreter's start `laconic --help` may take. Importing typer alone takes six."""


def start(*arguments):
    """(processor seconds, standard output) of a child interpreter; other work on the cores does not stretch the former."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime), done.stdout


def test_help_is_quick():
    """Against a bare interpreter on the same machine, the least of five starts each, in turn."""
    pairs = [(start("-c", "pass"), start("-m", "laconic", "--help")) for _ in range(5)]
    bare, helped = (min(pair[side][0] for pair in pairs) for side in (0, 1))
    assert "probe" in pairs[0][1][1] and "compare" in pairs[0][1][1]
    assert helped < MOST_BARE_STARTS * bare, (helped, bare)


def test_the_command_line_imports_nothing_heavy_before_a_command_runs():
    """Neither the version nor the help of any command does, and the help of all of them needs no rich either."""
    check = """
import sys
from laconic.cli import app
for arguments in (["--version"], ["--help"], *([*name.split(), "--help"] for name in sys.argv[1:])):
    sys.argv = ["laconic", *arguments]
    try:
        app.main()
    except SystemExit as ended:
        assert not ended.code, ended.code
    heavy = {"torch", "transformers", "numpy", "rich"} & set(sys.modules)
    assert not heavy, (arguments, heavy)
print("checked")
"""
    commands = [name for name, _ in cli.every_command()]
    assert set(cli.COMMANDS) <= {name.split()[0] for name in commands}
    assert start("-c", check, *cli.COMMANDS, *commands)[1].endswith("checked\n")


def test_help_shows_each_commands_whole_description(laconic):
    """On lines of their own, without an ellipsis; what the list says of a command is what its function says."""
    single = {name: (names, says) for name, (_, names, says) in cli.COMMANDS.items() if not names.isupper()}
    functions = {name: cli.functions_of(name)[name] for name in single}
    assert {name: " ".join(inspect.getdoc(function).split()) for name, function in functions.items()} == {
        name: says for name, (_, says) in single.items()
    }
    code, out, _ = laconic("--help")
    assert code == 0 and "…" not in out and "..." not in out.partition("Commands:")[2]
    assert "Train all phases of a recipe in one run, which can be resumed." in out
    assert "lengths by grade, and responses before and after." in " ".join(out.split())


@pytest.mark.parametrize(
    ("shell", "typed"),
    [
        ("bash", {"COMP_WORDS": "laconic ev", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "laconic ev"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "laconic ev", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_a_shell_completes_a_command(shell, typed):
    """What the script that `laconic --install-completion` installs asks: `laconic ev` can only become `evaluate`."""
    asked = os.environ | {"_LACONIC_COMPLETE": f"complete_{shell}"} | typed
    command = [sys.executable, "-m", "laconic"]
    done = subprocess.run(command, env=asked, capture_output=True, text=True, check=False)
    assert "evaluate" in done.stdout and "probe" not in done.stdout, done.stderr
    script = subprocess.run(
        command, env=os.environ | {"_LACONIC_COMPLETE": f"source_{shell}"}, capture_output=True, text=True, check=True
    )
    assert f"_LACONIC_COMPLETE=complete_{shell}" in script.stdout and "laconic" in script.stdout


def test_the_whole_path_from_probe_to_report(laconic, model, tmp_path):
    """probe, select, train, evaluate twice, compare, report: each leaves the files the next one reads."""
    assert laconic("probe", model, "tiny:count?count=6&split=train", "--samples", 2, "--max-tokens", 12)[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "probe.jsonl").read_text().splitlines()]
    assert len(lines) == 6 and all(line["attempts"] == 2 for line in lines)
    code, out, _ = laconic("select", "probe.jsonl", "--band", "0:1", "--count", 4, "--explain")
    assert code == 0 and "4 of 6 problems kept" in out and "others lie as deep inside or deeper" in out
    recipe = write_small_recipe(tmp_path / "small.toml", model)
    code, out, err = laconic(
        "train", recipe, "problems.train=problems.jsonl", "phases.0.select.count=4", "--out", "run"
    )
    assert code == 0, err
    assert "result: run/model" in out and "greedy" in out
    for name in ("base", "after"):
        folder = model if name == "base" else "run/model"
        options = ("--samples", 2, "--temperature", 1.0, "--max-tokens", 12, "--out", name)
        code, out, err = laconic("evaluate", folder, "tiny:mix?count=5&split=report", *options)
        assert code == 0 and "tiny-mix (T=1, boxed, avg@2): accuracy" in out, err
    code, out, err = laconic("compare", "base", "after")
    assert code == 0 and "written to comparison.json" in out, err
    compared = json.loads((tmp_path / "comparison.json").read_text())["candidates"][0]
    assert {"num_problems", "tokens_change", "accuracy_change", "margin", "non_inferior", "aes", "verdict"} <= set(
        compared
    )
    assert laconic("report", "run")[0] == 0
    assert (tmp_path / "run" / "report.html").read_text().lower().startswith("<!doctype html>")


def test_a_repeated_evaluation_is_the_same_to_the_byte(laconic, model, tmp_path):
    """The same command twice."""
    for out in ("one", "two"):
        laconic("evaluate", model, "tiny:mix?count=4", "--samples", 2, "--max-tokens", 12, "--out", out)
    for name in ("samples.jsonl", "summary.json"):
        one, two = ((tmp_path / out / "eval" / "tiny-mix" / name).read_bytes() for out in ("one", "two"))
        assert one == two


def bad_inputs(tmp_path, model):
    (tmp_path / "bad.jsonl").write_text(
        "".join(json.dumps({"id": i, "problem": f"{i}?", "answer": "1"}) + "\n" for i in range(16)) + '{"id": "x"\n'
    )
    empty = tmp_path / "empty"
    empty.mkdir(exist_ok=True)
    (empty / "config.json").write_text((model / "config.json").read_text())
    recipe = write_small_recipe(tmp_path / "small.toml", model)
    train = ("train", recipe, "--out", "new")
    evaluate = ("evaluate", model, "tiny:mix?count=2")
    (tmp_path / "lost").symlink_to("nowhere")
    return {
        "a missing recipe": (("train", "none.toml"), "none.toml: cannot be read"),
        "an unknown key": ((*train, "phases.first.stepz=1"), "phases.first.stepz: unknown key"),
        "a missing problem file": (("evaluate", model, "none.jsonl"), "none.jsonl"),
        "a malformed line 17": (("evaluate", model, "bad.jsonl"), "line 17"),
        "an unknown source": (("evaluate", model, "wiki:everything"), "wiki:everything"),
        "an unknown family": (("evaluate", model, "tiny:poetry"), "poetry"),
        "a folder without weights": (("evaluate", "empty", "tiny:mix?count=2"), "no *.safetensors"),
        "a folder that is not there": (("evaluate", "./none", "tiny:mix?count=2"), "./none: no such folder"),
        "a cap beyond the context": ((*evaluate, "--max-tokens", 5000), "exceed the context"),
        "a prompt that the cap does not fit": ((*train, "defaults.sampler.max_tokens=2040"), "exceed the context"),
        "an empty selection": (
            (*train, "phases.first.select.how=hard", "phases.first.select.options={ceiling=0.8}"),
            "phases.first.select: none of 8 probed problems qualifies",
        ),
        "a group of one under rloo": ((*train, "phases.second.group_size=1"), "phases.second.group_size: rloo"),
        "no selection rule": (("select", "probe.jsonl"), "expected one of --band LO:HI, --hard CEILING and --how NAME"),
        "a band that is none": (("select", "probe.jsonl", "--band", "high"), "expected LO:HI"),
        "a missing probe": (("select", "none.jsonl", "--band", "0:1"), "none.jsonl"),
        "a missing evaluation": (("compare", "none", "none"), "none"),
        "an unknown list": (("list", "colours"), "unknown kind 'colours'"),
        "a run that is not there": (("train", recipe, "--out", "nowhere", "--resume"), "no run to resume"),
        "an unknown dtype": ((*evaluate, "--dtype", "int4"), "--dtype"),
        "an empty report": (("report", "nowhere"), "nowhere"),
        "a mistyped benchmark": (("evaluate", model, "gsm9k"), "near it: gsm8k"),
        "a mistyped prompt": ((*evaluate, "--prompt", "be_concis"), "be_concise"),
        "a prompt without its number": ((*evaluate, "--prompt", "token_limit"), "token_limit"),
        "budgets that are none": ((*evaluate, "--budgets", "few"), "--budgets few: expected numbers of tokens"),
        "a budget that cuts nothing": (
            (*evaluate, "--budgets", "8,12", "--max-tokens", 12),
            "--budgets 12: cuts nothing, since responses have at most 12 tokens",
        ),
        "a confidence without a band": (("probe", model, "tiny:mix?count=2", "--confidence", 0.8), "only with --band"),
        "a confidence beside --hard": (("select", "p.jsonl", "--hard", 0.3, "--confidence", 0.8), "only with --band"),
        "an option beside --band": (("select", "p.jsonl", "--band", "0:1", "--option", "low=0"), "only with --how"),
        "a confidence that is none": (
            ("probe", model, "tiny:mix?count=2", "--band", "0:1", "--confidence", "nan"),
            "confidence: expected a finite number",
        ),
        "two sources in one folder": (("evaluate", model, "a/x.jsonl", "b/x.jsonl"), "its folder would be eval/x"),
        "two prompts in one folder": (
            (*evaluate, "--prompt", "Be brief and go on", "--prompt", "Be brief and go home"),
            "prompts whose first four words differ",
        ),
        "a dtype for an endpoint": (
            ("evaluate", "http://127.0.0.1:9/v1#m", "tiny:mix?count=1", "--dtype", "bfloat16"),
            "runs elsewhere, in its own dtype",
        ),
        "an endpoint where nothing listens": (
            ("evaluate", "http://127.0.0.1:9/v1#m", "tiny:mix?count=1"),
            "http://127.0.0.1:9/v1",
        ),
        "an unknown option": ((*evaluate, "--sampels", "2"), "No such option: --sampels"),
        "an unknown command": (("evalute",), "No such command 'evalute'"),
        "an unknown second grader": (("audit", "none", "--grader", "mine"), "mine"),
        "a folder that is a file": ((*evaluate, "--out", "bad.jsonl"), "bad.jsonl is a file; expected a folder"),
        "a report on a file": (("report", "bad.jsonl"), "laconic: bad.jsonl: is a file; expected a run, a folder of"),
        "a page onto a folder": (("report", "empty", "--out", "empty"), "--out empty: is a folder"),
        "a selection onto its probe": (
            ("select", "probe.jsonl", "--band", "0:1", "--out", "probe.jsonl"),
            "--out probe.jsonl: is the probe itself",
        ),
        "dropped problems onto the probe": (
            ("select", "probe.dropped.jsonl", "--band", "0:1", "--out", "probe.jsonl"),
            "--out probe.jsonl: its dropped problems would replace the probe itself",
        ),
        "an empty prompt": ((*evaluate, "--prompt", ""), "--prompt: is empty"),
        "a second prompt mistyped": ((*evaluate, "--prompt", "boxed", "--prompt", "be_concis"), "be_concise"),
        "a second temperature below 0": ((*evaluate, "--temperature", "1", "--temperature", "-1"), "--temperature"),
        "an unknown selection": (("select", "probe.jsonl", "--how", "magic"), "probe.jsonl"),
        "an empty path": ((*evaluate, "--out", ""), "--out: is empty; expected a path"),
        "an empty path among others": (("compare", "none", ""), "is empty; expected a path"),
        "an empty recipe": (("train", ""), "recipe: is empty; expected a path"),
        "a link to nowhere": ((*evaluate, "--out", "lost"), "--out lost: is a link that leads nowhere"),
        "a run in a link to nowhere": (("train", recipe, "--out", "lost"), "lost: is a link that leads nowhere"),
    }


CASES = [
    "a missing recipe",
    "an unknown key",
    "a missing problem file",
    "a malformed line 17",
    "an unknown source",
    "an unknown family",
    "a folder without weights",
    "a folder that is not there",
    "a cap beyond the context",
    "a prompt that the cap does not fit",
    "an empty selection",
    "a group of one under rloo",
    "no selection rule",
    "a band that is none",
    "a missing probe",
    "a missing evaluation",
    "an unknown list",
    "a run that is not there",
    "an unknown dtype",
    "an empty report",
    "a mistyped benchmark",
    "a mistyped prompt",
    "a prompt without its number",
    "budgets that are none",
    "a budget that cuts nothing",
    "a confidence without a band",
    "a confidence beside --hard",
    "an option beside --band",
    "a confidence that is none",
    "two sources in one folder",
    "two prompts in one folder",
    "a dtype for an endpoint",
    "an endpoint where nothing listens",
    "an unknown option",
    "an unknown command",
    "an unknown second grader",
    "a folder that is a file",
    "a report on a file",
    "a page onto a folder",
    "a selection onto its probe",
    "dropped problems onto the probe",
    "an empty prompt",
    "a second prompt mistyped",
    "a second temperature below 0",
    "an unknown selection",
    "an empty path",
    "an empty path among others",
    "an empty recipe",
    "a link to nowhere",
    "a run in a link to nowhere",
]


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_clear_line_and_exit_code_2(case, laconic, model, tmp_path):
    """One line that says what and where, no traceback."""
    cases = bad_inputs(tmp_path, model)
    assert list(cases) == CASES
    arguments, expected = cases[case]
    code, _, err = laconic(*arguments)
    complaints = [line for line in err.splitlines() if line.startswith("laconic: ")]
    assert code == 2, err
    assert len(complaints) == 1 and expected in complaints[0], err
    assert "Traceback" not in err


def test_an_existing_run_is_left_alone(laconic, model, tmp_path):
    """Training into a used folder, with a good or a bad recipe, changes nothing in it."""
    recipe = write_small_recipe(tmp_path / "small.toml", model)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("{}\n")
    for override in ("seed=1", "phases.second.group_size=1", "model=./none"):
        code, _, err = laconic("train", recipe, override, "--out", "run")
        assert code == 2, err
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["metrics.jsonl"]
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == "{}\n"


FLOATS = {
    ("probe", "confidence"): ("tiny", "tiny:mix?count=2", "--band", "0:1"),
    ("probe", "temperature"): ("tiny", "tiny:mix?count=2"),
    ("select", "hard"): ("none.jsonl",),
    ("select", "confidence"): ("none.jsonl", "--band", "0:1"),
    ("train", "price"): ("demo", "--dry-run"),
    ("evaluate", "temperature"): ("tiny", "tiny:mix?count=2"),
    ("evaluate", "top_p"): ("tiny", "tiny:mix?count=2"),
    ("evaluate", "min_p"): ("tiny", "tiny:mix?count=2"),
    ("evaluate", "penalty"): ("tiny", "tiny:mix?count=2"),
    ("batch", "temperature"): ("tiny", "none.jsonl"),
    ("compare", "margin"): ("one", "two"),
    ("compare", "tokens_margin"): ("one", "two"),
    ("quantize", "temperature"): ("tiny", "--scheme", "w8a8", "--out", "none"),
    ("export lm-eval", "temperature"): ("tiny:mix?count=2",),
    ("serve", "share"): ("tiny", "--candidate", "tiny"),
    ("serve", "keep_accuracy"): ("tiny", "--budget-from", "none"),
    ("traffic report", "days"): (),
    ("traffic report", "drift_days"): (),
    ("traffic problems", "min_share"): (),
    ("traffic pairs", "ratio"): (),
    ("traffic pairs", "min_share"): (),
}
"""Every option of every command that is a number with a point, and what the command needs beside it."""


def test_no_option_takes_a_number_that_is_none(laconic):
    """Before anything is read or drawn, in one line that names the option."""
    found = {
        (command, name)
        for command, function in cli.every_command()
        for name, parameter in signature(function).parameters.items()
        if "float" in str(parameter.annotation)
    }
    assert found == set(FLOATS)
    for (command, name), arguments in FLOATS.items():
        for value in ("nan", "inf", "-inf", "true", "1e400"):
            option = f"--{name.replace('_', '-')}"
            code, out, err = laconic(*command.split(), *arguments, f"{option}={value}")
            assert (code, out, err.count("\n")) == (2, "", 1) and name in err.replace("-", "_"), (command, option, err)


@pytest.mark.parametrize("what", ["recipes", "rewards", "algorithms", "selections", "problems"])
def test_list_names_what_there_is(what, laconic):
    """Every kind has entries with a summary each."""
    code, out, _ = laconic("list", what)
    assert code == 0 and len(out.splitlines()) >= 2
    assert all(len(line.split(maxsplit=1)) == 2 for line in out.splitlines())


OWN_REWARD = '''
import numpy as np


def short_and_right(numbers, tokens=100.0):
    """1 for a correct answer of at most `tokens` tokens."""
    return np.where(numbers.is_correct & (numbers.lengths <= tokens), 1.0, 0.0)
'''


def with_own_reward(recipe, name):
    text = recipe.read_text()
    rewards = f'rewards = {{ correct = 0, wrong = 0, no_answer = 0, truncated = 0, terms = [{{ name = "{name}" }}] }}\n'
    recipe.write_text(text.replace('name = "second"\n', f'name = "second"\n{rewards}'))
    return recipe


def test_a_reward_of_ones_own_trains_and_a_changed_file_is_noticed(laconic, model, tmp_path):
    """Beside the recipe, whatever folder the command runs in. A resumed run goes on with the reward it began with, or, where that
    is accepted, records that it does not; the recipe may be the run's own config.json."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "my_rewards.py").write_text(OWN_REWARD)
    recipe = with_own_reward(write_small_recipe(folder / "small.toml", model), "my_rewards.py:short_and_right")
    code, _, err = laconic("train", recipe, "--out", "run")
    assert code == 0, err
    rows = [json.loads(line) for line in (tmp_path / "run" / "rollouts" / "step-000007.jsonl").read_text().splitlines()]
    term = next(name for name in rows[0]["reward_terms"] if name.endswith("my_rewards.py:short_and_right"))
    assert all(row["reward"] == row["reward_terms"][term] == (row["grade"] == "correct") for row in rows)
    (folder / "my_rewards.py").write_text(OWN_REWARD.replace("100.0", "50.0"))
    code, _, err = laconic("train", recipe, "--out", "run", "--resume")
    assert code == 2 and "sha256" in err and "--accept-changes" in err
    config = tmp_path / "run" / "config.json"
    for command in ((recipe,), (config,)):
        code, _, err = laconic("train", *command, "--out", "run", "--resume", "--accept-changes")
        assert code == 0, err
    changes = json.loads((tmp_path / "run" / "environment.json").read_text())["changes"]
    assert [(entry["step"], entry["key"].rpartition(".")[2]) for entry in changes] == [(7, "sha256")]
    assert changes[0]["is"] == json.loads(config.read_text())["phases"][1]["rewards"]["terms"][0]["sha256"]


def test_sigterm_ends_a_run_that_can_be_resumed(laconic, model, tmp_path, monkeypatch):
    """Exit code 143, and the command that goes on, which does."""
    recipe, plain = write_small_recipe(tmp_path / "small.toml", model), RunDirectory.log_metrics

    def asking(self, metrics):
        os.kill(os.getpid(), signal.SIGTERM)
        plain(self, metrics)

    monkeypatch.setattr(RunDirectory, "log_metrics", asking)
    code, _, err = laconic("train", recipe, "--out", "run")
    *_, last = err.splitlines()
    command = "laconic train run/config.json --out run --resume"
    assert code == 143 and last == f"laconic: ended by SIGTERM; go on with  {command}"
    monkeypatch.setattr(RunDirectory, "log_metrics", plain)
    assert laconic(*command.split()[1:])[0] == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_file.py:f", "no_file.py: cannot be read"),
        ("my_rewards.py:missing", "expected a function 'missing'; it has: short_and_right"),
    ],
)
def test_a_reward_of_ones_own_that_is_not_there_is_one_line(laconic, model, tmp_path, name, says):
    (tmp_path / "my_rewards.py").write_text(OWN_REWARD)
    code, _, err = laconic(
        "train", with_own_reward(write_small_recipe(tmp_path / "s.toml", model), name), "--out", "run"
    )
    assert code == 2 and says in err and "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["probe", "selection of problems", "list of dropped problems", "comparison", "page"])
def test_a_file_of_another_kind_is_not_overwritten(kind, tmp_path):
    """Responses of an evaluation least of all; what the command wrote before is written anew."""
    file = tmp_path / "file"
    others = [text for other, text in WRITTEN.items() if other != kind]
    for content in ('{"problem_id": "a", "sample": 0, "grade": "wrong"}\n', PROBLEM_LINE, "print(1)\n", *others):
        file.write_text(content)
        with pytest.raises(InputError, match=f"exists and is no {kind}"):
            check_file(file, kind, "--out")
    for content in ("", WRITTEN[kind]):
        file.write_text(content)
        assert check_file(file, kind, "--out") == file
    assert check_file(tmp_path / "new", kind, "--out") == tmp_path / "new"


def test_a_pipe_and_a_link_to_itself_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    for name, why in (("pipe", "is a device or a pipe"), ("link", "is a link that leads back to itself")):
        with pytest.raises(InputError, match=f"{name}: {why}; expected a file's name"):
            check_file(tmp_path / name, "page", "--out")


PROBLEM_LINE = '{"id": "a", "problem": "1 + 1?", "answer": "2"}\n'
WRITTEN = {
    "probe": '{"problem_id": "a", "attempts": 2, "correct": 1}\n',
    "selection of problems": '{"id": "a", "problem": "1 + 1?", "answer": "2", "selection": "kept"}\n',
    "list of dropped problems": '{"problem_id": "a", "is_kept": false, "reason": "0/8 solved"}\n',
    "comparison": '{\n  "base": {"name": "a"}}\n',
    "page": "\n<!doctype html>\n<html>",
}


def test_nothing_is_drawn_before_all_prompts_and_temperatures_are_read(laconic, model, tmp_path):
    """A mistake in the second would otherwise cost what the first took."""
    for options in (
        ("--prompt", "boxed", "--prompt", "be_concis"),
        ("--temperature", "1", "--temperature", "-1"),
        ("--samples", "65537"),
        ("--budgets", ""),
    ):
        assert laconic("evaluate", model, "tiny:mix?count=2", *options, "--out", "never")[0] == 2
    assert not (tmp_path / "never").exists()


def test_every_prompt_that_is_listed_can_be_asked(laconic, model, tmp_path):
    """Those that plan a budget for each problem too, with a cap and without; what they may ask has to fit the context."""
    prompts = [name.replace(":N", ":40") for name in CATALOGUE["prompts"]()]
    options = [word for prompt in prompts for word in ("--prompt", prompt)]
    code, _, err = laconic("evaluate", model, "tiny:mix?count=2", "--max-tokens", "4", *options, "--out", "asked")
    assert code == 0, err
    assert len(list((tmp_path / "asked").rglob("summary.json"))) == len(prompts)
    assert laconic("evaluate", model, "tiny:mix?count=2", "--samples", "1", "--prompt", "tale", "--out", "own")[0] == 0


def test_what_greedy_decoding_does_not_read_and_what_is_given_twice_is_said(laconic, model, tmp_path):
    """One sample is drawn, not five equal ones; the last of two seeds counts."""
    asked = ("tiny:mix?count=2", "--max-tokens", "4", "--temperature", "0", "--samples", "5")
    code, out, err = laconic("probe", model, *asked, "--band", "0.2:0.8", "--seed", "1", "--seed", "2")
    assert code == 0 and "2 problems, 1 attempts each" in out
    assert len((tmp_path / "probe.samples.jsonl").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "probe.settings.json").read_text())["seed"] == 2
    for said in (
        "--seed: given 2 times; the last counts",
        "--samples 5 changes nothing",
        "--band 0.2:0.8 changes nothing",
    ):
        assert said in err, err
    code, _, err = laconic("evaluate", model, *asked, "--top-p", "0.5", "--prompt", "boxed", "--prompt", "be_concise")
    assert code == 0 and err.count("changes nothing") == 2 and "--top-p 0.5 changes nothing" in err, err
    code, _, err = laconic("evaluate", model, *asked, "--temperature", "1", "--out", "both")
    assert code == 0 and "changes nothing" not in err and "given" not in err, err


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return np.ones(1)", "expected 4 finite numbers"),
        ("return np.full(len(numbers.grades), np.nan)", "expected 4 finite numbers"),
        ("raise KeyError('oops')", "line 5: mine fails on a group: KeyError"),
    ],
)
def test_a_reward_of_ones_own_that_misbehaves_is_found_by_the_dry_run(laconic, model, tmp_path, body, says):
    (tmp_path / "my_rewards.py").write_text(f"import numpy as np\n\n\ndef mine(numbers):\n    {body}\n")
    recipe = with_own_reward(write_small_recipe(tmp_path / "s.toml", model), "my_rewards.py:mine")
    code, _, err = laconic("train", recipe, "--dry-run")
    assert code == 2 and says in err and "my_rewards.py" in err and "Traceback" not in err


def test_what_only_a_dry_run_reads_is_refused_without_it(laconic, model, tmp_path):
    """A GPU, its price or a probe would change nothing in a run; in a dry run they are read, and a wrong name is one line."""
    recipe = write_small_recipe(tmp_path / "s.toml", model)
    for option in (("--gpu", "h200"), ("--price", 2), ("--probe", "probe.jsonl")):
        code, _, err = laconic("train", recipe, *option)
        assert code == 2 and f"{option[0]}: only a dry run reads it" in err
    code, _, err = laconic("train", recipe, "--dry-run", "--gpu", "h300")
    assert code == 2 and "unknown GPU 'h300'" in err and err.count("\n") == 1
    for option, says in ((("--price", "1e7"), "from 0 to 1,000,000"), (("--accept-changes",), "it goes with --resume")):
        code, _, err = laconic("train", recipe, "--dry-run", *option)
        assert code == 2 and says in err and err.count("\n") == 1
    code, out, _ = laconic("train", recipe, "--dry-run", "--gpu", "l4", "--price", 0.5)
    assert code == 0 and "fits: phases." in out and "dollars expected" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("compare", "traffic:a", "traffic:b", "--margin", MARGIN), "--margin: is for evaluation folders"),
        (("compare", "traffic:a", "traffic:b", "--tokens-margin", TOKENS_MARGIN), "--tokens-margin: is for evaluation"),
        (("compare", "traffic:a", "traffic:b", "--by", "level"), "--by: is for evaluation folders"),
        (("compare", "traffic:a", "traffic:b", "--seed", SEED), "--seed: is for evaluation folders"),
        (("compare", "a", "b", "--store", STORE_ADDRESS), "--store: is read only with traffic:A traffic:B"),
        (
            ("probe", "tiny", "tiny:mix", "--confidence", BAND_CONFIDENCE),
            "--confidence: is read only with --band LO:HI",
        ),
    ],
)
def test_an_option_that_nothing_reads_is_refused_also_where_it_says_the_usual(laconic, arguments, says):
    code, _, err = laconic(*arguments)
    assert code == 2 and says in err and err.count("\n") == 1


def test_help_shows_what_holds_where_an_option_is_not_given(laconic):
    """Also of options of which it matters whether they were given."""
    for command, default in (
        ("compare", MARGIN),
        ("compare", STORE_ADDRESS),
        ("serve", SERVE_PORT),
        ("publish", "published"),
    ):
        code, out, _ = laconic(command, "--help")
        assert code == 0 and f"[default: ({default})" in " ".join(out.split())


def test_prompts_that_the_model_cannot_tell_apart_are_named(laconic, model):
    """The small model's template leaves every instruction without a number out."""
    options = ("--prompt", "boxed", "--prompt", "be_concise", "--samples", 1, "--max-tokens", 8)
    _, _, err = laconic("evaluate", model, "tiny:mix?count=2", *options)
    assert "be_concise: reads as boxed does" in err


def test_a_budget_curve_is_printed(laconic, model):
    _, out, _ = laconic("evaluate", model, "tiny:mix?count=2", "--samples", 1, "--max-tokens", 8, "--budgets", "2,4")
    assert "thinking cut at 2: accuracy" in out and "thinking cut at 4: accuracy" in out


def test_budgets_that_do_not_fit_the_context_are_refused_before_the_first_source_is_drawn(laconic, model, tmp_path):
    """A prompt has at most 40 tokens; the answer that is forced needs 32, and the words before it some more."""
    context = json.loads((Path(model) / "config.json").read_text())["max_position_embeddings"]
    options = (
        "--samples",
        1,
        "--max-tokens",
        context - 40,
        "--budgets",
        f"2,{context - 41}",
        "--out",
        tmp_path / "out",
    )
    code, _, err = laconic("evaluate", model, "tiny:mix?count=2", "tiny:chain_sum?count=2", *options)
    assert code == 2 and f"--budgets {context - 41}: with the prompt of problem" in err and "expected at most" in err
    assert len(err.strip().splitlines()) == 1 and not list((tmp_path / "out").rglob("samples.jsonl"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_a_full_standard_output_is_called_so(monkeypatch):
    """And what could not be written is not tried again at the end."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        print("x")
        assert cli.unnamed_file() == "standard output"
        assert cli.unnamed_file() == "a file"


def test_a_closed_pipe_is_quiet(monkeypatch, capsys):
    """The exit code is that of programs which the signal of a closed pipe ends."""
    ours, theirs = os.pipe()
    os.close(ours)
    monkeypatch.setattr(sys, "argv", ["laconic", "list", "rewards"])
    with os.fdopen(theirs, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code == 141 and capsys.readouterr().err == ""
