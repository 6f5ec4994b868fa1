"""Where in a response the answer was found, and what came after.

The thinking is cut at `;`. The answer is found with the first piece that tries the candidate which hits and comes to the right
result. All thinking after it is redundant: nothing more is needed to answer.
"""

from laconic.seeker.tokens import count_search_tokens
from laconic.tiny.traces import AGAIN
from laconic.types import END_THINK


def tokens_until_found(text: str, hit: str) -> int | None:
    """Tokens up to the end of the trial that hits; None if it never does. `hit` is the text of that trial.

    >>> tokens_until_found("11:7off15;12:22off0;check:7*12=84-62=22ok;</think>\\\\boxed{12}<|end|>", "12:22off0;")  # 6 and 6
    12
    """
    num_tokens = 0
    for piece in text.partition(END_THINK)[0].split(";")[:-1]:
        num_tokens += count_search_tokens(piece) + 1
        if piece.removeprefix(AGAIN) + ";" == hit:
            return num_tokens
    return None


def tokens_after_found(text: str, hit: str) -> int:
    """Tokens of the thinking after the answer was found; 0 if it never was.

    >>> tokens_after_found("12:0;wait,again:12:0;</think>\\\\boxed{12}<|end|>", "12:0;")  # wait , again : 12 : 0 ;
    8
    """
    found = tokens_until_found(text, hit)
    return 0 if found is None else count_search_tokens(text.partition(END_THINK)[0]) - found


def num_checks(text: str) -> int:
    """How many times a hit is checked."""
    return text.partition(END_THINK)[0].count("check:")
