"""Commands that learn from what serving left behind: `traffic problems`, `traffic pairs`, `traffic next`."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laconic.cli.options import GraderName, Seed, config_of, refuse_given, solver_of
from laconic.cli.traffic import StoreAddress, need_extra, opened_store
from laconic.config.defaults import (
    AGREEING_USERS,
    AGREEMENT_SAMPLES,
    AGREEMENT_SHARE,
    AGREEMENT_VOTES,
    BATCH_SIZE,
    DTYPE,
    LABELS_LISTED,
    MAX_TOKENS,
    PAIR_RATIO,
    PAIRS_PER_QUESTION,
    SEED,
    STORE_ADDRESS,
    TEMPERATURE,
)
from laconic.errors import InputError
from laconic.system.files import check_file, to_jsonl, write_text_atomically
from laconic.system.text import counted, put

if TYPE_CHECKING:
    from laconic.harvest.problems import Harvest
    from laconic.harvest.questions import StoredQuestions
    from laconic.traffic.store import TrafficStore
    from laconic.types import Problem

NO_QUESTION = "no question with the consent of its user is stored"

OneRoute = Annotated[str | None, typer.Option(help="Only requests to this route.")]
OneTag = Annotated[str | None, typer.Option(help="Only requests with this tag.")]
MinAgreeing = Annotated[int, typer.Option(help="How many users must make the same correction.", min=1)]
Confirmed = Annotated[
    bool, typer.Option("--confirmed", help="Take a correction only where the responses' votes lead to it, too.")
]
MinShare = Annotated[
    float, typer.Option(help="The share of the responses that must agree, where no user corrects.", min=0.5, max=1)
]
MinVotes = Annotated[int, typer.Option(help="How many responses there must be for that.", min=1)]
ApartFrom = Annotated[
    list[str] | None,
    typer.Option(help="Problems that will be reported on: what occurs among them is left out; may be repeated."),
]


def write_traffic_problems(
    out: Annotated[Path, typer.Option(help="The file of problems to write.")] = Path("problems.jsonl"),
    store: StoreAddress = STORE_ADDRESS,
    route: OneRoute = None,
    tag: OneTag = None,
    min_agreeing: MinAgreeing = AGREEING_USERS,
    confirmed: Confirmed = False,
    min_share: MinShare = AGREEMENT_SHARE,
    min_votes: MinVotes = AGREEMENT_VOTES,
    model: Annotated[
        str | None,
        typer.Option(
            help="Draw further responses that vote from this model or endpoint. If not given, stored ones vote."
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="With --model: how many per question.", min=1, show_default=str(AGREEMENT_SAMPLES)),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="With --model: the cap on a response.", min=1)] = None,
    grader: GraderName = None,
    apart_from: ApartFrom = None,
    seed: Seed = SEED,
) -> None:
    """Problems for training out of consented traffic, each with its gold answer, where that comes from, and how sure it is."""
    need_extra()
    from laconic.harvest.golds import GoldRule
    from laconic.harvest.problems import harvest_problems

    check_file(out, "file of problems", "--out")
    if model is None:
        refuse_given({"--samples": samples, "--max-tokens": max_tokens}, "is read only with --model")
    num_samples = AGREEMENT_SAMPLES if samples is None else samples
    rule = GoldRule(min_agreeing, confirmed, min_share, min_votes, _checked(grader))
    with _questions(store, route, tag, apart_from, seed) as (opened, stored, reported):
        drawn = {} if model is None else _draw(model, stored, num_samples, max_tokens, seed)
        _write(opened, out, "problems", harvest_problems(stored, rule, drawn, reported))


def write_traffic_pairs(
    out: Annotated[Path, typer.Option(help="The file of pairs to write.")] = Path("pairs.jsonl"),
    store: StoreAddress = STORE_ADDRESS,
    route: OneRoute = None,
    tag: OneTag = None,
    ratio: Annotated[
        float,
        typer.Option(help="How many times as long as the shortest right response another one must be to lose.", min=1),
    ] = PAIR_RATIO,
    most: Annotated[int, typer.Option(help="The most pairs of one question.", min=1)] = PAIRS_PER_QUESTION,
    min_agreeing: MinAgreeing = AGREEING_USERS,
    confirmed: Confirmed = False,
    min_share: MinShare = AGREEMENT_SHARE,
    min_votes: MinVotes = AGREEMENT_VOTES,
    apart_from: ApartFrom = None,
    seed: Seed = SEED,
) -> None:
    """Preferences out of feedback: two consented responses to one question, the better or shorter one first."""
    need_extra()
    from laconic.harvest.golds import GoldRule
    from laconic.harvest.pairs import harvest_pairs

    check_file(out, "file of problems", "--out")
    rule = GoldRule(min_agreeing, confirmed, min_share, min_votes)
    with _questions(store, route, tag, apart_from, seed) as (opened, stored, reported):
        _write(opened, out, "pairs", harvest_pairs(stored, rule, reported, ratio=ratio, most=most))


@contextmanager
def _questions(
    store: str, route: str | None, tag: str | None, apart_from: Sequence[str] | None = None, seed: int = SEED
) -> "Iterator[tuple[TrafficStore, StoredQuestions, list[list[Problem]]]]":
    """The open store, its questions, and the sets of `apart_from`, which are read first."""
    from laconic.harvest.questions import read_questions
    from laconic.problems.load import load_problems

    reported = [load_problems(source, seed=seed) for source in apart_from or []]
    with opened_store(store) as opened:
        yield opened, read_questions(opened, route=route, tag=tag), reported


def _write(store: "TrafficStore", out: Path, what: str, harvest: "Harvest") -> None:
    """Write a file and say what is in it. Raises `InputError`, and writes nothing, where nothing would be."""
    from laconic.traffic.exports import write_export

    if not harvest.rows:
        raise InputError(f"traffic {what}: nothing to write; {harvest.reasons(0) or NO_QUESTION}")
    put(f"{out}: {what}: {harvest.line(write_export(store, out, harvest.rows))}")


def list_next(
    store: StoreAddress = STORE_ADDRESS,
    route: OneRoute = None,
    tag: OneTag = None,
    count: Annotated[int, typer.Option(help="How many to list.", min=1)] = LABELS_LISTED,
    out: Annotated[
        Path | None, typer.Option(help="A file of these ids, which traffic label --from shows in their order.")
    ] = None,
) -> None:
    """Which stored responses to label next: those of which a label is expected to tell most, each with one to show beside it."""
    need_extra()
    from laconic.harvest.labelling import next_labels
    from laconic.traffic.labels import task_of, task_rows

    if out is not None:
        check_file(out, "list of what to label", "--out")

    with _questions(store, route, tag) as (_, stored, _):
        wishes = next_labels(stored.questions, count)
    for wish in wishes:
        put(f"{wish.information:.3f} nats  {wish.first.id}  {wish.second.id if wish.second else '-'}")
    put(
        f"{counted(len(wishes), 'response')} to label next: what a label is expected to tell, the response, one to show beside it"
        if wishes
        else "nothing to label: no stored response is unjudged"
    )
    if out is not None and wishes:
        tasks = [task_of(wish.first.id, wish.second.id if wish.second else "") for wish in wishes]
        write_text_atomically(out, to_jsonl(task_rows(tasks)))
        put(f"label them with  laconic traffic label --as NAME --from {shlex.quote(str(out))}")


def _checked(grader: str | None) -> str | None:
    """The grader's name, once it was seen to run."""
    if grader is not None:
        from laconic.config.solver import GraderConfig
        from laconic.rollouts.graders import open_grader

        open_grader(config_of(GraderConfig, name=grader)).close()
    return grader


def _draw(
    model: str, stored: "StoredQuestions", samples: int, max_tokens: int | None, seed: int
) -> Mapping[str, Sequence[str | None]]:
    """Answers of further responses to every question, by its key."""
    from laconic.config.solver import SamplerConfig
    from laconic.harvest.votes import draw_answers
    from laconic.notebook.solvers import cap_tokens
    from laconic.parallel.team import ALONE
    from laconic.system.progress import Reporter
    from laconic.types import Problem

    if not stored.questions:
        raise InputError(f"traffic problems: {NO_QUESTION}")
    asked = [Problem(question.key, question.text, "") for question in stored.questions]
    reporter = Reporter()
    with solver_of(model, DTYPE, None, ALONE) as solver:
        cap = cap_tokens(solver, asked, max_tokens, MAX_TOKENS, field="--max-tokens", say=reporter.say)
        decoding = config_of(SamplerConfig, temperature=TEMPERATURE, max_tokens=cap, batch_size=BATCH_SIZE)
        with reporter.bar("responses", len(asked) * samples) as progress:
            return draw_answers(solver, asked, samples, decoding, seed=seed, on_progress=progress)


HARVEST: Mapping[str, Callable[..., None]] = {
    "problems": write_traffic_problems,
    "pairs": write_traffic_pairs,
    "next": list_next,
}
"""Each command of `laconic traffic` that learns from what is stored, and its function."""
