"""Which set a question belongs to: decided by its text alone, so that the sets are disjoint under every seed.

70% of all questions are for training, 10% to be watched while training, 20% to report on (design section 3).
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
