"""Every way by which a text could be stored, shown, exported or trained on: none goes on without consent, and forgetting ends
all of them.

The words of a request stand in its prompt, system text, role, name, metadata and response, in feedback, in requests that fail,
and in what an upstream says of its failure. Each is looked for byte by byte in the store with its log, in exports, problems,
pairs and pages, in the lines that the gateway says, and in its figures for Prometheus.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("sqlalchemy", reason="needs the extra serve")
pytest.importorskip("jinja2", reason="needs the extra report")

from played_upstream import Play, Played, event, playing, refused, run_async, stream, whole
from starlette.testclient import TestClient

from laconic.errors import InputError, ProblemsError
from laconic.harvest.golds import GoldRule
from laconic.harvest.pairs import harvest_pairs
from laconic.harvest.problems import harvest_problems
from laconic.harvest.questions import read_questions
from laconic.monitoring.overview import read_overview
from laconic.monitoring.page import write_traffic_page
from laconic.problems.load import load_problems
from laconic.serving.feedback.labelling import labelling_app, open_desk
from laconic.traffic.consented import consented_rows
from laconic.traffic.exports import forget_everywhere, write_export
from laconic.traffic.labels import ExpertLabel, add_label, label_tasks
from laconic.traffic.store import TrafficStore
from laconic.traffic.tables import LABELS, REQUESTS, TEXTS

WORD, NAME = "zebra-crossing", "the-name-of-ann"
QUESTION = [{"role": "user", "content": f"What is 2 + 2, {WORD}?"}]
RULE = GoldRule(1, False, 0.5, 1)
ALLOWED = [("consent", ["text"])]
REFUSED: list[tuple[str, list[str]]] = [
    *(("never", headers) for headers in ([], ["text"])),
    *(("consent", headers) for headers in ([], ["yes"], ["text", "text"], ["text", "none"])),
]


def answering(body: dict[str, Any]) -> Played:
    """Echoes the words, or fails with them where it is asked to."""
    said = f"<think>{WORD}</think>It is \\boxed{{4}}, {WORD}."
    if WORD in str(body.get("stop")):
        return refused(500, f"cannot stop at {WORD}")
    if body.get("stream"):
        return stream(event({"content": said}), event({}, finish="stop"), b"data: [DONE]\n\n")
    return whole(said) if "messages" in body else whole(choices=[{"index": 0, "text": said, "finish_reason": "stop"}])


async def ask_everything(play: Play, headers: Sequence[str]) -> None:
    """Send each kind of request with the consent headers, and a feedback with texts for each response."""
    sent = [("x-laconic-consent", value) for value in headers]
    system = {"role": "system", "content": WORD}
    told = {"role": "assistant", "content": WORD, "name": WORD, "reasoning_content": WORD}
    chats: list[dict[str, Any]] = [
        {"messages": QUESTION},
        {"messages": QUESTION, "stream": True},
        {"messages": [system, *QUESTION, told, *QUESTION], "metadata": {"k": WORD}},
        {"messages": QUESTION, "stop": WORD},
        {"messages": [{"role": WORD, "content": WORD}]},
        {"messages": WORD},
    ]
    async with play.client as client:
        for body in chats:
            fields = {"model": "m", "user": NAME, **body}
            reply = await client.post("/v1/chat/completions", json=fields, headers=[*sent, ("x-laconic-tag", WORD)])
            said = {"id": reply.headers.get("x-laconic-request-id", WORD), "user": NAME, "rating": "bad"}
            await client.post("/v1/feedback", json=said | {"correction": f"4 {WORD}", "comment": WORD}, headers=sent)
        for fields in ({"model": "m", "prompt": WORD, "user": NAME}, {"model": WORD, "prompt": WORD}):
            await client.post("/v1/completions", json=fields, headers=sent)


def use_everything(store: TrafficStore, folder: Path) -> int:
    """Write all that can be made of stored texts; how many rows and tasks there are."""
    stored = read_questions(store)
    made = {
        "export.jsonl": list(consented_rows(store)),
        "problems.jsonl": harvest_problems(stored, RULE, {}).rows,
        "pairs.jsonl": harvest_pairs(stored, RULE, ratio=1.0, most=9).rows,
    }
    written = sum(write_export(store, folder / name, rows) for name, rows in made.items())
    write_traffic_page(read_overview(store, 2e9, 1e5, 1.0, None), folder / "traffic.html")
    tasks = label_tasks(store, 0)
    for task in tasks:
        add_label(store, ExpertLabel("ines", task.first, task.second, 1.0, "", "yes", "", "fine", "", False))
    return written + len(tasks)


def label_page(store: TrafficStore) -> str:
    """What an expert is shown."""
    desk = open_desk(store, "bob", seed=0)
    client = TestClient(labelling_app(desk), base_url="http://127.0.0.1:1")
    return client.get(f"/?token={desk.token}").text


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("policy", "headers"), REFUSED)
@run_async
async def test_no_way_leads_on_without_consent(tmp_path: Path, policy: str, headers: list[str]) -> None:
    async with playing(tmp_path, {"a": answering}, route={"texts": policy}) as play:
        await ask_everything(play, headers)
        assert len(play.rows()) >= 5
        store = play.desk.writer.store
        assert use_everything(store, tmp_path) == 0 and store.rows(TEXTS) == []
        with pytest.raises(InputError, match="nothing to label"):
            label_page(store)
        seen = on_disk(tmp_path) + "".join(play.said).encode() + play.desk.metrics.text()
    seen += on_disk(tmp_path)
    assert WORD.encode() not in seen and NAME.encode() not in seen


@pytest.mark.parametrize(("policy", "headers"), ALLOWED)
@run_async
async def test_with_consent_every_way_leads_on_until_the_user_is_forgotten(
    tmp_path: Path, policy: str, headers: list[str]
) -> None:
    """So the walk above fails where it should; and figures, lines and the names of users never hold words."""
    async with playing(tmp_path, {"a": answering}, route={"texts": policy}) as play:
        await ask_everything(play, headers)
        play.rows()
        store = play.desk.writer.store
        assert use_everything(store, tmp_path) > 0 and WORD in label_page(store)
        for name in ("traffic.db", "export.jsonl", "problems.jsonl"):
            files = [path for path in tmp_path.iterdir() if path.name.startswith(name)]
            assert any(WORD.encode() in path.read_bytes() for path in files), name
        seen = "".join(play.said).encode() + play.desk.metrics.text() + (tmp_path / "traffic.html").read_bytes()
        assert WORD.encode() not in seen and NAME.encode() not in on_disk(tmp_path)
        copied = tmp_path / "copy.jsonl"
        copied.write_bytes((tmp_path / "problems.jsonl").read_bytes())
        assert load_problems(str(copied))
        for user in {row["user"] for row in store.rows(REQUESTS)}:
            assert forget_everywhere(store, user).unreached == ()
        with pytest.raises(ProblemsError, match="forgotten"):
            load_problems(str(copied))
        copied.unlink()
        assert WORD.encode() not in on_disk(tmp_path) and store.rows(LABELS) == []
    assert WORD.encode() not in on_disk(tmp_path)
