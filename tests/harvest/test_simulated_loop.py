"""Simulated users of a scripted model: what they say of its responses becomes problems, and their mistakes wrong gold answers.
benchmarks/traffic_loop.py does the same with the bundled reasoner behind the real gateway."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra serve")

from laconic.harvest.golds import GoldRule
from laconic.harvest.problems import Harvest, harvest_problems
from laconic.harvest.questions import StoredQuestions, read_questions
from laconic.problems.load import load_problems
from laconic.rng import stream
from laconic.traffic.consent import CONSENT_WORD, TextPolicy, keep_text
from laconic.traffic.records import FeedbackRecord, TrafficRecord
from laconic.traffic.store import StoredRequest, open_store
from laconic.types import Problem

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def simulated_users() -> ModuleType:
    """The module of the benchmark, which is in no package."""
    spec = importlib.util.spec_from_file_location("simulated_users", BENCHMARKS / "simulated_users.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SIMULATED = simulated_users()
PROBLEMS = load_problems("tiny:mix?count=40&split=train&levels=2-4")
SHARES = SIMULATED.Population(is_careless=0.4, corrects=0.9, gives_feedback=0.9)
USERS = SIMULATED.draw_users(40, SHARES, seed=1)
RIGHT_FRAC = 0.6


def scripted_answer(user: str, problem: Problem) -> str:
    """The gold answer in most cases, else one of many wrong ones."""
    drawn = stream(0, "scripted", user, problem.id)
    return problem.answer if drawn.random() < RIGHT_FRAC else str(int(problem.answer) + drawn.randint(2, 30))


def stored_request(user, problem: Problem) -> StoredRequest:
    name, answer = f"{user.name}/{PROBLEMS.index(problem)}", scripted_answer(user.name, problem)
    record = TrafficRecord(
        name, 1.0, "m", "m", "base", "", user.name, 200, "stop", False, 9, 50, None, None, None, 0.1, 0.2, None
    )
    headers, messages = [CONSENT_WORD] * user.consents, [{"role": "user", "content": problem.question}]
    response = f"</think>\\boxed{{{answer}}}"
    text = keep_text(
        TextPolicy.CONSENT, headers, request_id=name, user=user.name, at=1.0, messages=messages, response=response
    )
    return StoredRequest(record, text)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredQuestions:
    """A month of 40 users, each asking 8 of 40 questions."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('month')}/traffic.db")
    asked = [(u, p) for u in USERS for p in SIMULATED.questions_of(u, PROBLEMS, 8, 0, "base")]
    batch = [stored_request(*pair) for pair in asked]
    store.write(batch)
    for (user, problem), kept in zip(asked, batch, strict=True):
        answer = scripted_answer(user.name, problem)
        said = SIMULATED.reaction(user, problem, answer, 50, 0, "base")
        if said is not None:
            words = (said.rating, said.length, said.correction)
            store.add_feedback(FeedbackRecord(kept.record.id, 1.0, user.name, *words))
    found = read_questions(store)
    store.close()
    return found


def wrong_golds(found: Harvest) -> int:
    golds = {problem.question: problem.answer for problem in PROBLEMS}
    return sum(row["answer"] != golds[row["problem"]] for row in found.rows)


def test_a_careless_users_word_alone_gives_wrong_golds_and_the_votes_prevent_them(stored: StoredQuestions) -> None:
    trusting = harvest_problems(stored, GoldRule(), {})
    confirmed = harvest_problems(stored, GoldRule(is_confirmed=True), {})
    assert wrong_golds(trusting) >= 2 > wrong_golds(confirmed)
    assert 10 <= len(confirmed.rows) < len(trusting.rows)


def test_only_those_who_consented_are_in_it(stored: StoredQuestions) -> None:
    consenting = {user.name for user in USERS if user.consents}
    found = {request.user for question in stored.questions for request in question.requests}
    assert found and found <= consenting and len(consenting) < len(USERS)
