"""What is stored of each request whose texts are there, as rows of an export: figures, conversation, response, feedback, labels.

A row names its request by its id and leaves out the user's pseudonym. What a label says is told from the side of the response.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from laconic.problems.forgotten import REQUEST_KEY
from laconic.traffic.conversations import messages_of
from laconic.traffic.store import TrafficStore
from laconic.traffic.tables import FEEDBACK, LABELS, REQUESTS, TEXTS

ROWS_AT_ONCE = 200
_SAID = ("rating", "length", "correction", "comment")


def consented_rows(store: TrafficStore) -> Iterator[dict[str, Any]]:
    """The rows, in the order of their requests' times."""
    labels = _labels_by_request(store)
    query = select(
        REQUESTS, TEXTS.c.prompt, TEXTS.c.response, *(FEEDBACK.c[name].label(f"said_{name}") for name in _SAID)
    )
    query = query.join(TEXTS, TEXTS.c.request_id == REQUESTS.c.id)
    query = query.outerjoin(FEEDBACK, FEEDBACK.c.request_id == REQUESTS.c.id).order_by(REQUESTS.c.at, REQUESTS.c.id)
    with store.engine.connect() as connection:
        for row in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query).mappings():
            yield _told(row, labels.get(row["id"], []))


def _told(row: Mapping[Any, Any], labels: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    figures = {column.name: row[column.name] for column in REQUESTS.columns if column.name not in ("id", "user")}
    said = {name: row[f"said_{name}"] for name in _SAID if row[f"said_{name}"]}
    texts = {"messages": messages_of(row["prompt"]), "response": row["response"]}
    return {REQUEST_KEY: row["id"], **figures, **texts, "feedback": said, "labels": list(labels)}


def _labels_by_request(store: TrafficStore) -> dict[str, list[dict[str, str]]]:
    """What labellers say of each response; `verdict` is better, worse or same, "" where it stood alone."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in store.rows(LABELS):
        for side in ("first", "second") if row["second"] else ("first",):
            verdict = (
                row["verdict"] if row["verdict"] in ("", "same") else "better" if row["verdict"] == side else "worse"
            )
            told = {"right": row[f"{side}_right"], "length": row[f"{side}_length"], "verdict": verdict}
            found.setdefault(row[side], []).append({"labeller": row["labeller"], **told})
    return found
