"""The tables, one for each kind of record, and why each column is there.

1. `REQUESTS` has figures alone, one row for each request. `TEXTS` has words of those who consented, `FEEDBACK` what users say.
2. `FORGOTTEN` remembers who was forgotten and when, so that a record which was still on its way is not written, and `TOMBSTONES`
   which records are gone, so that whoever exported them can drop them.
3. `LABELS` has what experts say of responses, `EXPORT_FILES` which files were written, and `EXPORTED` whose words are in them.
4. `DECISIONS` has what rules decided about candidates, and the figures for which.
5. `PURPOSES` says of every column why it is stored; `laconic traffic what` prints it, and a test misses none.

The tables are made by the steps in `migrations/`; a test holds the two against each other.
"""

from sqlalchemy import Boolean, Column, Double, ForeignKey, Integer, MetaData, String, Table, Text

METADATA = MetaData()

REQUESTS = Table(
    "requests",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("route", String(200), nullable=False),
    Column("model", String(400), nullable=False),
    Column("version", String(200), nullable=False),
    Column("tag", String(100), nullable=False),
    Column("user", String(32), nullable=False, index=True),
    Column("status", Integer, nullable=False),
    Column("finish", String(20), nullable=False),
    Column("is_streamed", Boolean, nullable=False),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("thinking_tokens", Integer),
    Column("budget", Integer),
    Column("is_cut", Boolean),
    Column("first_token_seconds", Double),
    Column("seconds", Double, nullable=False),
    Column("cost", Double),
)
TEXTS = Table(
    "texts",
    METADATA,
    Column("request_id", String(64), ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("prompt", Text, nullable=False),
    Column("response", Text, nullable=False),
)
FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("request_id", String(64), ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True),
    Column("at", Double, nullable=False),
    Column("user", String(32), nullable=False, index=True),
    Column("rating", String(10), nullable=False),
    Column("length", String(10), nullable=False),
    Column("correction", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("is_corrected", Boolean),
)
FORGOTTEN = Table(
    "forgotten", METADATA, Column("user", String(32), primary_key=True), Column("at", Double, nullable=False)
)
TOMBSTONES = Table(
    "tombstones", METADATA, Column("request_id", String(64), primary_key=True), Column("at", Double, nullable=False)
)
LABELS = Table(
    "labels",
    METADATA,
    Column("labeller", String(100), primary_key=True),
    Column("first", String(64), ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True),
    Column("second", String(64), primary_key=True),
    Column("at", Double, nullable=False),
    Column("verdict", String(10), nullable=False),
    Column("first_right", String(10), nullable=False),
    Column("second_right", String(10), nullable=False),
    Column("first_length", String(10), nullable=False),
    Column("second_length", String(10), nullable=False),
    Column("is_swapped", Boolean, nullable=False),
)
EXPORT_FILES = Table(
    "exports",
    METADATA,
    Column("path", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("num_rows", Integer, nullable=False),
)
EXPORTED = Table(
    "exported",
    METADATA,
    Column("path", Text, ForeignKey("exports.path", ondelete="CASCADE"), primary_key=True),
    Column("request_id", String(64), primary_key=True),
    Column("user", String(32), nullable=False, index=True),
    Column("at", Double, nullable=False),
)
DECISIONS = Table(
    "decisions",
    METADATA,
    Column("route", String(200), primary_key=True),
    Column("version", String(200), primary_key=True),
    Column("at", Double, primary_key=True),
    Column("action", String(10), nullable=False),
    Column("rule", Text, nullable=False),
    Column("figures", Text, nullable=False),
)

PURPOSES: dict[str, dict[str, str]] = {
    "requests": {
        "id": "names the response, for feedback and so that no record is written twice",
        "at": "figures by day, and the end of the time for which they are kept",
        "route": "figures by route",
        "model": "figures by model",
        "version": "figures before and after the weights were changed",
        "tag": "figures by domain; one of the words that the operator listed",
        "user": "a salted hash: one user's share, and forgetting",
        "status": "how many requests failed, and how",
        "finish": "how many responses were cut off",
        "is_streamed": "tells the two kinds of latency apart",
        "prompt_tokens": "length of prompts, and cost",
        "completion_tokens": "length of responses, and cost",
        "thinking_tokens": "length of thinking",
        "budget": "figures by thinking budget",
        "is_cut": "how often a budget acted",
        "first_token_seconds": "latency",
        "seconds": "latency",
        "cost": "cost by the route's prices",
    },
    "texts": {
        "request_id": "the request that it belongs to",
        "at": "the end of the time for which it is kept",
        "prompt": "problems to train on; only with consent, redacted",
        "response": "what the model wrote, to be judged; only with consent, redacted",
    },
    "feedback": {
        "request_id": "the response that is judged",
        "at": "figures by day",
        "user": "a salted hash: forgetting",
        "rating": "good or bad",
        "length": "too long or too short",
        "correction": "the right answer; only with consent, redacted",
        "comment": "free text; only with consent, redacted",
        "is_corrected": "whether there was a correction: the share of corrected responses, after its text was deleted too",
    },
    "forgotten": {
        "user": "the salted hash of a user who was forgotten",
        "at": "records from before are not written any more",
    },
    "tombstones": {
        "request_id": "a record that is gone, so that whoever has a copy drops it",
        "at": "when it was forgotten",
    },
    "labels": {
        "labeller": "whose judgement it is: agreement of two labellers",
        "first": "a response that is judged",
        "second": "the response that it is compared with; empty where there is none",
        "at": "when it was judged",
        "verdict": "which of the two is better",
        "first_right": "whether the first is right",
        "second_right": "whether the second is right",
        "first_length": "whether the first is too long or too short",
        "second_length": "whether the second is too long or too short",
        "is_swapped": "which of the two stood on the left: whether the place decides",
    },
    "exports": {
        "path": "a file with texts, which forgetting must reach",
        "at": "when it was written",
        "num_rows": "how much of it there is",
    },
    "exported": {
        "path": "the file",
        "request_id": "a request whose words are in it",
        "user": "a salted hash: forgetting a user whose figures are gone by now",
        "at": "when the request came: forgetting reaches what is older",
    },
    "decisions": {
        "route": "where the candidate was tried",
        "version": "the candidate that was stopped or promoted",
        "at": "when it was decided",
        "action": "stop or promote; the gateway acts on it",
        "rule": "which rule of the operator decided",
        "figures": "the figures and intervals on which it was decided, as JSON; none of a single user",
    },
}
"""Table and column to the reason for which it is stored."""
