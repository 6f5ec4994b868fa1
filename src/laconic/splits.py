"""Which set a question belongs to. Its text alone decides, so that the sets are disjoint under every seed.

Of all questions 70% are for training, 10% for watching the model while it trains, and 20% for the report at the end.
"""

from laconic.rng import seed_of

SPLITS = ("train", "watch", "report")
_TRAIN_PERCENT, _WATCH_PERCENT = 70, 10


def split_of(question: str) -> str:
    """The split that `question` hashes to: "train", "watch" or "report"."""
    bucket = seed_of(0, "split", " ".join(question.split())) % 100
    if bucket < _TRAIN_PERCENT:
        return "train"
    return "watch" if bucket < _TRAIN_PERCENT + _WATCH_PERCENT else "report"
