"""What was decided about candidates, and the share of users that follows from it.

`monitoring/candidates.py` decides and writes; the gateway reads `current_share` and acts. A decision is never changed: a
candidate that was stopped stays stopped, until an operator serves it under another version.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import desc, select

from laconic.traffic.store import TrafficStore
from laconic.traffic.tables import DECISIONS


class CandidateAction(StrEnum):
    """What becomes of a candidate: nobody gets it any more, or everybody does."""

    STOP = "stop"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision: `at` seconds since 1970, on a route, about a version, by a rule in words, on figures as JSON has them."""

    route: str
    version: str
    at: float
    action: CandidateAction
    rule: str
    figures: Mapping[str, Any]


def add_decision(store: TrafficStore, decision: Decision) -> bool:
    """Write a decision down; False where the candidate was decided about before, and the first decision stays."""
    with store.engine.begin() as connection:
        is_own = (DECISIONS.c.route == decision.route, DECISIONS.c.version == decision.version)
        if connection.execute(select(DECISIONS.c.at).where(*is_own)).first() is not None:
            return False
        connection.execute(
            DECISIONS.insert().values(
                route=decision.route,
                version=decision.version,
                at=decision.at,
                action=str(decision.action),
                rule=decision.rule,
                figures=json.dumps(decision.figures, sort_keys=True, allow_nan=False),
            )
        )
    return True


def read_decisions(store: TrafficStore, route: str | None = None) -> list[Decision]:
    """Every decision, of one route or of all, the latest first."""
    query = select(DECISIONS).order_by(desc(DECISIONS.c.at))
    with store.engine.connect() as connection:
        rows = connection.execute(query if route is None else query.where(DECISIONS.c.route == route)).mappings()
        return [
            Decision(
                row["route"],
                row["version"],
                row["at"],
                CandidateAction(row["action"]),
                row["rule"],
                json.loads(row["figures"]),
            )
            for row in rows
        ]


def current_share(store: TrafficStore, route: str, version: str, configured: float) -> float:
    """The share of users who get a candidate on a route: 0 after it was stopped, 1 after it was promoted, else as configured."""
    decided = [decision for decision in read_decisions(store, route) if decision.version == version]
    if not decided:
        return configured
    return 0.0 if decided[0].action is CandidateAction.STOP else 1.0
