"""`laconic publish`: a finished run becomes a folder whose card says what the run stored, and nothing that it did not."""

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from folders import Run
from huggingface_hub import HfApi, ModelCard

from laconic.config.defaults import VLLM_SERVER
from laconic.config.load import dump, parse_recipe
from laconic.evaluation.figures import Setup, Summary
from laconic.evaluation.problem_meta import write_meta
from laconic.evaluation.summary import summarise
from laconic.problems.forgotten import list_text
from laconic.problems.made_from_traffic import NOTE, made_of, note_made
from laconic.problems.sets import load_problem_sets, statements_digest
from laconic.publishing import push as pushing
from laconic.publishing.hub_results import index_entries, result_files
from laconic.publishing.measured_run import MeasuredRun, read_measured_run
from laconic.publishing.places import public_tree
from laconic.publishing.training_words import DRAWN_WORDS, GIVEN_WORDS, phase_words, shared_words
from laconic.rollouts.rows import read_rows
from laconic.rollouts.sources import SOURCES
from laconic.system.checksums import write_checksums
from laconic.system.fields import Fields
from laconic.training.algorithms import ALGORITHMS
from laconic.types import Problem

ASKED = ("--name", "org/short", "--contact", "Ada <ada@example.org>")
NAMES = [f"p{i}" for i in range(60)]
SUBJECTS = ["geometry"] * 30 + ["algebra"] * 30


def recipe(**changes: object) -> dict:
    """A recipe of one phase that is reported greedily."""
    problems = {name: f"tiny:mix?count=60&split={name}" for name in ("train", "watch", "report")}
    phase = {"name": "brevity", "steps": 4, "rewards": {"terms": [{"name": "cosine", "weight": 0.5}]}}
    plain = {"name": "r", "model": "tiny", "problems": problems, "phases": [phase], "report": {"temperatures": [0.0]}}
    return dump(parse_recipe(plain | changes, "a recipe"))


def write_run(folder: Path, tree: dict) -> Path:
    """A run as training and measuring leave it: 60 problems of which those of geometry are lost, in half the tokens."""
    greedy = {"temperature": 0.0, "prompt": {"name": "boxed", "instruction": "…", "system": None}, "grader": "rules"}
    before = Run({name: [("correct", 100 + i)] for i, name in enumerate(NAMES)}, greedy)
    lost = {n: [("wrong" if s == "geometry" else "correct", 50)] for n, s in zip(NAMES, SUBJECTS, strict=True)}
    after = Run(lost, greedy)
    base, new = before.write(folder / "eval" / "base-greedy"), after.write(folder / "eval" / "phase-1-greedy")
    for place in (base, new):
        told = json.loads((place / "summary.json").read_text())
        setup, found = Setup.from_fields(Fields(told, "a summary")), summarise(read_rows(place / "samples.jsonl"), 0)
        (place / "summary.json").write_text(json.dumps(Summary(setup, found).to_json()))
    write_meta([Problem(n, "q", "7", meta={"subject": s}) for n, s in zip(NAMES, SUBJECTS, strict=True)], new)
    (folder / "config.json").write_text(json.dumps(tree))
    (folder / "environment.json").write_text(json.dumps({"device": "a processor", "packages": {"torch": "2.13.0"}}))
    record = {"name": "brevity", "first_step": 1, "last_step": 4, "num_problems": 60, "reason": "cap: 4 steps"}
    (folder / "phases.json").write_text(json.dumps([record]))
    model = folder / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors"):
        (model / name).write_text("{}")
    write_checksums(model)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("made") / "run", recipe())


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


def test_the_card_says_what_the_run_stored(laconic, run, tmp_path):
    """Accuracy 100% to 50%, tokens 129.5 to 50; geometry lost everything, and is named the worst of the slices."""
    code, out, err = laconic("publish", run, *ASKED)
    assert (code, err) == (0, "") and out.startswith("published: read published/README.md")
    text = (tmp_path / "published" / "README.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| accuracy |"))
    assert re.findall(r"[\d.]+%", row) == ["100.0%", "50.0%"] and "−50.0 pt" in row
    assert re.search(r"\| mean tokens \| 130 \[\d+, \d+\] \| 50.0 \| −61.4%", text)  # alike lengths have no interval
    assert (
        "Worst slice: subject geometry (30 problems): accuracy -100.0 points" in text and "less accurate there" in text
    )
    assert "not shown to be as accurate" in text and "Ada <ada@example.org>" in text and "0.5 × `cosine`" in text
    assert "None of them came from stored traffic of users." in text
    assert "apply_chat_template" in text and "put your final answer within" in text


def test_the_hub_reads_the_metadata(laconic, run, tmp_path):
    """Licence, tags, base and the figures with their intervals; the model is byte for byte that of the run."""
    laconic("publish", run, *ASKED, "--license", "mit", "--base-model", "org/base")
    data = ModelCard.load(tmp_path / "published" / "README.md").data
    assert (data.license, data.base_model, data.base_model_relation) == ("mit", "org/base", "finetune")
    assert data.model_name == "short" and {"laconic", "ppo"} <= set(data.tags)
    accuracy, tokens = data.eval_results
    assert (accuracy.metric_type, accuracy.metric_value, tokens.metric_value) == ("accuracy", 0.5, 50)
    stored = json.loads((run / "eval" / "phase-1-greedy" / "summary.json").read_text())["accuracy"]["ci95"]
    assert accuracy.metric_args["ci95"] == stored and accuracy.dataset_type == "tiny-mix"
    for file in (run / "model").iterdir():
        assert (tmp_path / "published" / file.name).read_bytes() == file.read_bytes()


def test_figures_on_a_benchmark_of_the_hub_get_a_file_each(run):
    """The format of `.eval_results/`: the dataset and its task, the value, and how it was measured."""
    (name, text), *others = result_files(reported_on(run, "gsm8k")).items()
    assert name == "gsm8k-greedy.yaml" and not others
    assert "id: openai/gsm8k" in text and "task_id: main" in text and "value: 0.5" in text and "60 problems" in text


def test_an_interval_that_does_not_exist_is_left_out(laconic, run, tmp_path):
    """Lengths that are all 50 have none, and the result of one problem has neither."""
    assert laconic("publish", run, *ASKED)[0] == 0
    assert "nan" not in ModelCard.load(tmp_path / "published" / "README.md").data.to_yaml().casefold()
    entries = ModelCard.load(tmp_path / "published" / "README.md").data.eval_results
    assert [sorted(entry.metric_args) for entry in entries] == [["ci95", "num_problems"], ["num_problems"]]
    measured = reported_on(run, "gsm8k")
    (change,) = measured.changes
    accuracy = replace(change.after.figures.accuracy, low=float("nan"), high=float("nan"))
    after = replace(change.after, figures=replace(change.after.figures, accuracy=accuracy))
    (text,) = result_files(replace(measured, changes=(replace(change, after=after),))).values()
    assert "notes: greedy, at most" in text and "interval" not in text and "over 60 problems" in text


def reported_on(run: Path, source: str) -> MeasuredRun:
    """The run, as if its reported problems were those of `source`."""
    tree = recipe()
    tree["problems"]["report"] = source
    (run / "config.json").write_text(json.dumps(tree))
    return read_measured_run(run)


@pytest.mark.parametrize(
    "source", ["gsm8k?count=60", "mmlu_stem", "hf:openai/gsm8k:main:test?count=5", "hf:./mine:test", "hf:mine:test"]
)
def test_figures_on_a_part_of_a_dataset_do_not_stand_on_its_page(laconic, run, tmp_path, source):
    """Neither those of the first problems, nor of some subjects, nor of a folder on this machine; the command says so."""
    (tmp_path / "mine").mkdir()
    (entry, *_), name = index_entries(reported_on(run, source)), source.partition("?")[0]
    assert entry.dataset_name == source and entry.dataset_type == name.replace(":", "-").replace("/", "-")
    assert entry.dataset_split is None
    code, out, _ = laconic("publish", run, *ASKED)
    assert code == 0 and not (tmp_path / "published" / ".eval_results").exists()
    assert out.splitlines()[1:] == [
        "published: without .eval_results, which are for figures on a whole benchmark or dataset of the hub"
    ]


def test_figures_on_a_whole_benchmark_are_not_said_to_be_missing(laconic, run, tmp_path):
    reported_on(run, "gsm8k")
    code, out, _ = laconic("publish", run, *ASKED)
    assert code == 0 and len(out.splitlines()) == 1
    assert (tmp_path / "published" / ".eval_results" / "gsm8k-greedy.yaml").is_file()


def edit(file: Path, key: str, **changes: object) -> None:
    """Change what a summary says of a figure, as by hand."""
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {key: told[key] | changes}))


def test_the_example_is_a_question_of_the_run_and_none_that_may_be_somebodys(laconic, run, tmp_path):
    """The first reported problem is "p0?"; of a file of one's own no question is shown."""
    assert laconic("publish", run, *ASKED)[0] == 0
    assert 'question = "p0?"' in (tmp_path / "published" / "README.md").read_text()
    tree = recipe()
    tree["problems"]["report"] = "mine.jsonl"
    (run / "config.json").write_text(json.dumps(tree))
    assert laconic("publish", run, *ASKED, "--out", "other")[0] == 0
    assert "p0?" not in (tmp_path / "other" / "README.md").read_text()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (
            lambda run: (run / "phases.json").write_text("[]"),
            "is not finished (0 of 1 phases); go on with  laconic train",
        ),
        (lambda run: shutil.rmtree(run / "model"), "is not finished (1 of 1 phases)"),
        (lambda run: (run / "model" / "model.safetensors").write_text("other"), "is damaged (its SHA-256 is another)"),
        (
            lambda run: (run / "eval" / "phase-1-greedy" / "summary.json").unlink(),
            "its report was not measured; do it with",
        ),
        (
            lambda run: edit(run / "eval" / "phase-1-greedy" / "summary.json", "accuracy", mean=0.9, ci95=[0.8, 0.95]),
            "accuracy.mean is 0.9, but its samples have 0.5",
        ),
        (
            lambda run: edit(run / "eval" / "base-greedy" / "summary.json", "tokens", ci95=[129.4, 129.6]),
            "the interval of tokens is 129.4 to 129.6, but its samples have 12",
        ),
        (lambda run: (run / "config.json").unlink(), "no run here (no config.json)"),
        (lambda run: (run / "config.json").write_text('{"name": 3}'), "is no recipe"),
    ],
)
def test_what_is_unfinished_unmeasured_or_damaged_is_refused(laconic, run, tmp_path, spoil, complaint):
    spoil(run)
    code, _, err = laconic("publish", run, *ASKED)
    assert code == 2 and complaint in err and len(err.splitlines()) == 1
    assert not (tmp_path / "published").exists()


def test_a_run_without_reported_problems_is_refused_with_the_command(laconic, run):
    tree = recipe()
    tree["problems"]["report"] = None
    (run / "config.json").write_text(json.dumps(tree))
    code, _, err = laconic("publish", run, *ASKED)
    assert code == 2 and "nothing was measured" in err and "problems.report=PROBLEMS" in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "expected either a run, or --push FOLDER"),
        (("run", "--name", "org/short"), "--contact WHO is missing"),
        (("run", "--contact", "Ada"), "--name ORG/NAME is missing"),
        (("run", "--name", "short", "--contact", "Ada"), "--name short: expected ORG/NAME"),
        (("run", "--name", "org/short", "--contact", " "), "--contact: expected whom people ask"),
        (("run", "--name", "org/short", "--contact", "Ada\n## Licence"), "--contact: expected whom people ask"),
        (("run", *ASKED, "--license", "other", "--license-name", "a\nb"), "--license-name: expected what the licence"),
        (("run", *ASKED, "--license", "My Own"), "--license My Own: expected an identifier"),
        (("run", *ASKED, "--license", "other"), "--license-name"),
        (("run", *ASKED, "--base-model", "base"), "--base-model base: expected the base's name on the hub"),
        (("run", *ASKED, "--out", "run"), "--out run: stands already; expected a new folder"),
        (("run", *ASKED, "--license-name", "My Own"), "--license-name: is for a licence that the hub does not list"),
        (("run", *ASKED, "--public"), "--public: is for the hub; it goes with --to hub, or with --push FOLDER"),
        (("--push", "run"), "--push run: expected a folder that  laconic publish RUN  has written"),
        (("--push", "run", "--to", "folder"), "--to: is for a run; --push sends a folder as it was written"),
        (("--push", "run", "--out", "published"), "--out: is for a run; --push sends"),
        (("--push", "run", "--license", "mit"), "--license: is for a run; --push sends"),
        (("--push", "run", "--license-name", "a"), "--license-name: is for a run; --push sends"),
        (("--push", "run", "--contact", "Ada"), "--contact: is for a run; --push sends"),
        (("--push", "run", "--base-model", "org/base"), "--base-model: is for a run; --push sends"),
    ],
)
def test_what_was_left_out_or_mistyped_is_one_line(laconic, run, arguments, complaint):
    code, _, err = laconic("publish", *arguments)
    assert code == 2 and complaint in err and len(err.splitlines()) == 1


def test_the_licence_is_taken_from_the_bases_card_or_asked_for(laconic, run, tmp_path):
    """A folder of a model without a card has no known licence; with one, the card's holds."""
    base = tmp_path / "base"
    base.mkdir()
    (run / "config.json").write_text(json.dumps(recipe(model=str(base))))
    code, _, err = laconic("publish", run, *ASKED)
    assert code == 2 and "--license: nothing states the licence of" in err
    (base / "README.md").write_text("---\nlicense: cc-by-4.0\n---\nA model.\n")
    assert laconic("publish", run, *ASKED)[0] == 0
    assert "license: cc-by-4.0" in (tmp_path / "published" / "README.md").read_text()


def test_no_folder_of_the_machine_is_published(laconic, run, tmp_path):
    """Neither of the base, nor of the problems, nor of a grader of one's own, nor of the card that states the licence."""
    private = tmp_path / "ann"
    (private / "base").mkdir(parents=True)
    (private / "base" / "README.md").write_text("---\nlicense: mit\n---\nA model.\n")
    tree = recipe(model=str(private / "base"))
    tree["problems"]["report"] = f"{private}/mine.jsonl?count=60"
    tree["grader"]["name"] = f"{private}/own.py:grade"
    tree["prompt"]["system"] = "/no_think of /home/people"
    (run / "config.json").write_text(json.dumps(tree))
    assert laconic("publish", run, *ASKED)[0] == 0
    texts = [(tmp_path / "published" / name).read_text() for name in ("README.md", "laconic/recipe.json")]
    for text in texts:
        assert str(tmp_path) not in text and "mine.jsonl" in text and "own.py:grade" in text
        assert "/no_think of /home/people" in text
    assert "license: mit" in texts[0] and "(that of base)" in texts[0]


def test_no_command_of_a_server_is_published(laconic, run, tmp_path):
    """It may hold a key and folders. The recipe on the hub has the usual one, and an option of a reward called so stays."""
    tree = recipe()
    tree["phases"][0]["sampler"] |= {"engine": "vllm", "server": "vllm --download-dir /home/ann/acme --api-key sk-123"}
    (run / "config.json").write_text(json.dumps(tree))
    assert laconic("publish", run, *ASKED)[0] == 0
    for name in ("README.md", "laconic/recipe.json"):
        text = (tmp_path / "published" / name).read_text()
        assert "sk-123" not in text and "/home/ann" not in text
    published = json.loads((tmp_path / "published" / "laconic" / "recipe.json").read_text())
    assert published["phases"][0]["sampler"] == tree["phases"][0]["sampler"] | {"server": VLLM_SERVER}
    assert public_tree({"options": {"server": "http://here", "sampler": "mine"}}) == {
        "options": {"server": "http://here", "sampler": "mine"}
    }


def test_words_of_others_make_no_heading_and_end_no_block(laconic, run, tmp_path):
    tree = recipe()
    tree["prompt"]["system"] = "Think `hard`.\n\n## Licence\n```\n<script>"
    (run / "config.json").write_text(json.dumps(tree))
    said = run / "eval" / "phase-1-greedy" / "problem_meta.jsonl"
    said.write_text(said.read_text().replace("geometry", "geo|<script>\\n\\n## Evil"))
    assert laconic("publish", run, *ASKED)[0] == 0
    text = (tmp_path / "published" / "README.md").read_text()
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert "## Licence and contact" in headings and not {"## Licence", "## Evil"} & set(headings)
    compile(re.findall(r"````python\n(.*?)\n````\n", text, re.DOTALL)[0], "usage", "exec")


def test_adapters_are_said_to_be_merged():
    tree = recipe(policy={"lora": {"rank": 8}})
    words = " ".join(shared_words(parse_recipe(tree, "a recipe")))
    assert "LoRA of rank 8" in words and "merged" in words


def phase_said(number=8, **changes):
    """The words for a phase of 40 steps that trained on so many problems."""
    record = {"first_step": 1, "last_step": 40, "num_problems": number, "reason": "cap: 40 steps"}
    phase = {"name": "brevity", "steps": 40, "problems_per_step": 32} | changes
    (read,) = parse_recipe(recipe() | {"phases": [phase]}, "a recipe").phases
    return "; ".join(phase_words(1, read, record))


def test_a_phase_is_described_as_it_was_and_not_as_the_recipe_asked():
    """Eight problems a step, since no more were kept; eight of the pool, not all; what standardises is said."""
    assert "40 steps of 8 problems; problems: 8 of the train set, all that there were" in phase_said()
    assert "problems: the first 8;" in phase_said(select={"pool": 8})
    assert "40 steps of 1 problem;" in phase_said(1)
    standardized = phase_said(rewards={"standardize": True})
    assert "truncated -1; standardised over all that were paid at once" in standardized


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_rewards_are_said_only_where_they_were_read(name):
    said = phase_said(algorithm={"name": name})
    assert ("rewards: correct 1" in said) == ALGORITHMS[name].reads_rewards
    assert (f"by no reward: {ALGORITHMS[name].summary}" in said) != ALGORITHMS[name].reads_rewards


def test_every_source_of_rollouts_has_words_of_its_own():
    """What people wrote was not drawn, and is paid what they said and not what the recipe pays."""
    assert set(SOURCES) == set(DRAWN_WORDS) | set(GIVEN_WORDS) and not set(DRAWN_WORDS) & set(GIVEN_WORDS)
    assert "learned from two given responses per problem, of which people preferred one" in phase_said(rollouts="pairs")
    for source in SOURCES:
        said = phase_said(rollouts=source)
        assert ("per problem, temperature" in said) == ("rewards: " in said) == (source in DRAWN_WORDS)


# --- origin ----------------------------------------------------------------------------------------------------------


@dataclass
class FromTraffic:
    """A run that was trained on a file of problems, two of three of which came from stored traffic."""

    run: Path
    file: Path
    gone: Path

    def forget(self, request: str) -> None:
        """Put a request on the list of those that were forgotten."""
        self.gone.write_text(list_text([request]))

    @classmethod
    def make(cls, run: Path, folder: Path) -> "FromTraffic":
        file, gone = folder / "mine.jsonl", folder / "forgotten.txt"
        gone.write_text(list_text([]))
        meta = [{}, *({"traffic_request": f"r{i}", "tombstones": str(gone)} for i in (1, 2))]
        rows = [{"id": f"m{i}", "problem": f"What is {i} + 1?", "answer": "1"} | m for i, m in enumerate(meta)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        tree = recipe()
        tree["problems"] |= {"train": str(file)}
        sets = load_problem_sets(parse_recipe(tree, "a recipe"))
        digests = {name: statements_digest(getattr(sets, name)) for name in ("train", "watch")}
        (run / "config.json").write_text(json.dumps(tree))
        (run / "environment.json").write_text(json.dumps({"inputs": {"problems": digests}}))
        return cls(run, file, gone)


def test_problems_from_traffic_are_counted_and_changed_ones_refused(laconic, run, tmp_path):
    """A file from which a forgotten record was taken since is another file than the one that was trained on."""
    made = FromTraffic.make(run, tmp_path)
    assert laconic("publish", run, *ASKED)[0] == 0
    assert (
        "2 problems of these came from stored traffic of people who consented"
        in Path("published/README.md").read_text()
    )
    made.file.write_text("".join(made.file.read_text().splitlines(keepends=True)[:2]))
    code, _, err = laconic("publish", run, *ASKED, "--out", "again")
    assert code == 2 and "whether a forgotten one was among them is not known" in err
    code, _, err = laconic("publish", "--push", "published")
    assert code == 2 and "whether a forgotten one was among them is not known" in err


def test_a_run_of_which_a_problem_was_forgotten_is_neither_published_nor_pushed(laconic, run, tmp_path):
    made = FromTraffic.make(run, tmp_path)
    assert laconic("publish", run, *ASKED)[0] == 0
    made.forget("r2")
    for arguments in ((run, *ASKED, "--out", "again"), ("--push", "published")):
        code, _, err = laconic("publish", *arguments)
        assert code == 2 and "1 of its requests were forgotten" in err


def test_the_run_that_a_run_started_from_is_checked_too(laconic, run, tmp_path):
    made = FromTraffic.make(run, tmp_path)
    later = write_run(tmp_path / "later", recipe(model=str(run / "model")))
    assert laconic("publish", later, *ASKED, "--license", "mit")[0] == 0
    assert "2 problems of these came from stored traffic" in Path("published/README.md").read_text()
    made.file.unlink()
    code, _, err = laconic("publish", later, *ASKED, "--license", "mit", "--out", "again")
    assert code == 2 and "mine.jsonl" in err


def note_files(run: Path, *names: str) -> None:
    """Let a run's environment.json say which files of its model the run read."""
    told = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(told | {"inputs": {"files": dict.fromkeys(names, "0")}}))


def test_a_relative_model_is_no_name_of_the_hub_wherever_it_is_published(laconic, run, tmp_path, monkeypatch):
    """`run/model` looks like one. Beside the run it is checked; from another folder nobody knows where it lies."""
    made = FromTraffic.make(run, tmp_path)
    later = write_run(tmp_path / "later", recipe(model="run/model"))
    note_files(later, "run/model/config.json", "run/model/model.safetensors")
    asked = (*ASKED, "--license", "mit")
    assert laconic("publish", later, *asked)[0] == 0
    text = (tmp_path / "published" / "README.md").read_text()
    assert "2 problems of these came from stored traffic" in text and "base_model" not in text
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    made.forget("r2")
    for arguments in ((later, *asked), ("--push", tmp_path / "published")):
        code, _, err = laconic("publish", *arguments)
        assert code == 2 and "run/model: is not here" in err and len(err.splitlines()) == 1
    monkeypatch.chdir(tmp_path)
    code, _, err = laconic("publish", later, *asked, "--out", "again")
    assert code == 2 and "1 of its requests were forgotten" in err


def test_a_folder_here_is_not_taken_for_a_model_of_the_hub(laconic, run, tmp_path):
    """The run read the revision of the hub's model, whatever lies here under its name."""
    (run / "config.json").write_text(json.dumps(recipe(model="org/base")))
    note_files(run, "org/base")
    (tmp_path / "org" / "base").mkdir(parents=True)
    assert laconic("publish", run, *ASKED, "--license", "mit")[0] == 0
    text = (tmp_path / "published" / "README.md").read_text()
    assert "base_model: org/base" in text and "It is unknown whether stored traffic" not in text


@pytest.mark.parametrize("is_begun", [True, False])
def test_the_run_of_a_checkpoint_is_checked_too(laconic, run, tmp_path, is_begun):
    """A model that started from a checkpoint of another run, which may have finished no phase, inherits its problems."""
    made = FromTraffic.make(run, tmp_path)
    place = run / "checkpoints" / "step-000016"
    place.mkdir(parents=True)
    (place / "config.json").write_text("{}")
    if is_begun:
        (run / "phases.json").unlink()
    later = write_run(tmp_path / "later", recipe(model=str(place)))
    assert laconic("publish", later, *ASKED, "--license", "mit")[0] == 0
    assert "2 problems of these came from stored traffic" in Path("published/README.md").read_text()
    made.forget("r2")
    code, _, err = laconic("publish", later, *ASKED, "--license", "mit", "--out", "again")
    assert code == 2 and "1 of its requests were forgotten" in err


@pytest.mark.parametrize("place", ["base", "run/base", "gone/to/nowhere"])
def test_of_a_local_model_of_no_known_run_it_is_unknown_what_taught_it(laconic, run, tmp_path, place):
    """Also where it lies in the run's own folder, or is no longer there; where a run started from such a run, it is said, too."""
    if place != "gone/to/nowhere":
        (tmp_path / place).mkdir()
    (run / "config.json").write_text(json.dumps(recipe(model=str(tmp_path / place))))
    later = write_run(tmp_path / "later", recipe(model=str(run / "model")))
    for published, out in ((run, "first"), (later, "second")):
        assert laconic("publish", published, *ASKED, "--license", "mit", "--out", out)[0] == 0
        text = Path(f"{out}/README.md").read_text()
        name = place.rpartition("/")[2]
        assert f"It is unknown whether stored traffic of users was among what `{name}` was trained on" in text
        assert "None of them came from stored traffic" not in text


@pytest.mark.parametrize("used_as", ["base", "teacher"])
def test_what_was_published_of_a_run_is_checked_as_that_run(laconic, run, tmp_path, used_as):
    made = FromTraffic.make(run, tmp_path)
    assert laconic("publish", run, *ASKED, "--out", "first")[0] == 0
    model = str(tmp_path / "first")
    tree = recipe(model=model) if used_as == "base" else recipe()
    if used_as == "teacher":
        tree["phases"][0]["algorithm"] |= {"reference_model": model}
    later = write_run(tmp_path / "later", tree)
    made.forget("r2")
    code, _, err = laconic("publish", later, *ASKED, "--license", "mit")
    assert code == 2 and "1 of its requests were forgotten" in err


def test_the_folder_of_a_dataset_is_checked_like_a_file(laconic, run, tmp_path):
    pytest.importorskip("datasets", reason="needs the extra data")
    made = FromTraffic.make(run, tmp_path)
    (tmp_path / "set").mkdir()
    made.file.rename(tmp_path / "set" / "train.jsonl")
    tree = json.loads((run / "config.json").read_text())
    tree["problems"]["train"] = f"hf:{tmp_path}/set:train"
    (run / "config.json").write_text(json.dumps(tree))
    made.forget("r2")
    code, _, err = laconic("publish", run, *ASKED)
    assert code == 2 and "1 of its requests were forgotten" in err


def test_what_is_published_is_named_when_somebody_is_forgotten(laconic, run, tmp_path):
    """Also of a run that started from one that was trained on traffic; no note of it is in the folder, which would be pushed."""
    made = FromTraffic.make(run, tmp_path)
    note_made(run, load_problem_sets(parse_recipe(json.loads((run / "config.json").read_text()), "a recipe")).train)
    later = write_run(tmp_path / "later", recipe(model=str(run / "model")))
    for published, out in ((run, "first"), (later, "second")):
        assert laconic("publish", published, *ASKED, "--license", "mit", "--out", out)[0] == 0
        assert not (tmp_path / out / NOTE).exists()
    assert made_of(made.gone, frozenset({"r1"})) == [tmp_path / "first", run, tmp_path / "second"]
    made.forget("r1")
    lines = made.file.read_text().splitlines(keepends=True)
    made.file.write_text("".join(line for line in lines if '"r1"' not in line))  # as forgetting leaves it
    for published in (run, later):
        code, _, err = laconic("publish", published, *ASKED, "--license", "mit", "--out", "third")
        assert code == 2 and f"{run}: 1 of its requests were forgotten" in err


# --- pushing ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    """A hub that is played: what it was asked to do, in order."""
    asked: list[tuple] = []

    class Commit:
        commit_url = "https://hub.example/org/short/commit/1"

    def upload(_, *, repo_id, folder_path, commit_message):
        names = sorted(
            path.relative_to(folder_path).as_posix() for path in Path(folder_path).rglob("*") if path.is_file()
        )
        asked.append((repo_id, names))
        return Commit

    monkeypatch.setattr(pushing, "hub_answers", lambda: True)
    monkeypatch.setattr(HfApi, "create_repo", lambda _, name, **options: asked.append((name, options["private"])))
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    return asked


def test_a_folder_is_pushed_as_it_lies_to_a_private_repository(laconic, run, hub):
    laconic("publish", run, *ASKED)
    code, out, _ = laconic("publish", "--push", "published")
    assert (code, out.strip()) == (0, "https://hub.example/org/short/commit/1")
    assert hub[0] == ("org/short", True)
    assert {"README.md", "laconic/recipe.json", "model.safetensors", "SHA256SUMS"} <= set(hub[1][1])
    assert not any("origin" in name for name in hub[1][1])


def test_a_folder_is_pushed_under_the_name_that_its_card_loads(laconic, run, hub):
    laconic("publish", run, *ASKED)
    code, _, err = laconic("publish", "--push", "published", "--name", "org/other")
    assert code == 2 and "--name org/other: the card in published loads org/short" in err and not hub
    assert laconic("publish", "--push", "published", "--name", "org/short")[0] == 0 and hub[0][0] == "org/short"


def test_to_hub_writes_and_pushes_at_once(laconic, run, hub):
    code, _, _ = laconic("publish", run, *ASKED, "--to", "hub", "--public")
    assert code == 0 and hub[0] == ("org/short", False) and hub[1][0] == "org/short"


def test_without_a_network_the_folder_stays_and_the_command_is_said(laconic, run, tmp_path):
    code, _, err = laconic("publish", run, *ASKED, "--to", "hub")
    assert code == 1 and "laconic publish --push published" in err
    assert (tmp_path / "published" / "README.md").is_file()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda folder: (folder / "model.safetensors").write_text("other"), "is damaged (its SHA-256 is another)"),
        (lambda folder: (folder / "README.md").write_text("---\nlicense: [\n---\n"), "its metadata cannot be read"),
        (lambda folder: (folder / "README.md").write_text("---\ntags: [a]\n---\nA model.\n"), "states no license"),
        (lambda folder: folder.with_name("published.origin.json").unlink(), "nothing says of which run this is"),
    ],
)
def test_a_folder_that_is_not_whole_is_not_pushed(laconic, run, hub, spoil, complaint):
    laconic("publish", run, *ASKED)
    spoil(Path("published"))
    code, _, err = laconic("publish", "--push", "published")
    assert code == 2 and complaint in err and not hub
