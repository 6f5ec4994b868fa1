"""A gateway lets the rules of a candidate decide, writes the decision down, and acts on it."""

from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")

from played_upstream import playing, run_async, scripted

from laconic.serving.program import share_reader
from laconic.serving.routing import CandidateShares
from laconic.traffic.decisions import CandidateAction, read_decisions


@run_async
async def test_a_rule_of_the_file_stops_a_candidate(tmp_path: Path) -> None:
    """The rule asks for a change that every candidate has, more bad feedback than 100 points less."""
    candidate = {"upstreams": ["candidate"], "version": "v2", "share": 0.5, "rules": {"stop_bad": -1.0}}
    route = {"version": "v1", "candidate": candidate}
    async with playing(tmp_path, {"a": scripted, "candidate": scripted}, route=route) as play:
        for number in range(12):
            await play.chat(user=f"u{number}")
        shares = CandidateShares(play.desk.routes, share_reader(play.desk))
        await shares.refresh()
        (decision,) = read_decisions(play.desk.writer.store)
        assert shares.failures == 0 and play.desk.routes["m"].share == 0.0
        assert decision.action is CandidateAction.STOP and decision.figures["users"][1] > 0
        await play.chat(user="u0")
        assert sum(row["version"] == "v2" for row in play.rows()) == decision.figures["users"][1]
