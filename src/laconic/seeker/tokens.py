"""The seeker's vocabulary: characters as in `tiny.tokens`, the words of searches, and numbers of up to two digits in one token.

A longer number is cut into pairs of digits from the left, so 1005 is `10` and `05`. A search names many numbers, so this makes it
half as long.
"""

from laconic.tiny.tokens import BOX_START, CHARACTERS, PIECE_PATTERN, SPECIALS, pieces

NUMBER_PATTERN = PIECE_PATTERN.replace("[0-9]|", "[0-9]{1,2}|")
NUMBER_TOKENS = (*map(str, range(100)), *(f"0{digit}" for digit in range(10)))
SIGNS = ("plus", "minus", "times")
SEARCH_TRACE_WORDS = ("wait", "check", "again", "ok", "no", "off", *SIGNS)
REQUEST_WORDS = ("twice", "take")
QUESTION_WORDS = (
    *("Find", "x", "with", "mod"),
    *("prime", "below", "of", "Which", "divides"),
    *("two", "sum", "to"),
    *("make", "by", "Reach", "from"),
)

SEARCH_VOCABULARY: tuple[str, ...] = tuple(
    dict.fromkeys(
        (*SPECIALS, BOX_START, *NUMBER_TOKENS, *CHARACTERS, *SEARCH_TRACE_WORDS, *REQUEST_WORDS, *QUESTION_WORDS)
    )
)


def search_pieces(text: str) -> list[str]:
    """The tokens of `text` as strings.

    >>> search_pieces("7*12=84-62=22;check 105")
    ['7', '*', '12', '=', '84', '-', '62', '=', '22', ';', 'check', '10', '5']
    """
    return pieces(text, NUMBER_PATTERN)


def count_search_tokens(text: str) -> int:
    """Number of tokens in `text`."""
    return len(search_pieces(text))
