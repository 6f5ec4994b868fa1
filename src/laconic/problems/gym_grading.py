"""Tasks of reasoning-gym whose answers cannot be graded by comparing them with the stored one.

reasoning-gym grades the answers of most tasks by a function of the task; here an answer is compared with the one that the item
stores, as it is for every problem. All its tasks but `composite` were measured (version 0.1.25, 8 to 20 items each): the stored
answer, what the question states, the parts of the answer in another order, and others that the task's own function calls right.

1. `UNGRADABLE_TASKS`: a wrong answer is graded correct, or a right one wrong. A model trained on such a task learns to cheat.
2. `MANY_ANSWERS`: an item has several right answers, of which the stored one alone is graded correct. Loading it warns.

What is left out: sums and the like (`chain_sum`, `decimal_arithmetic`), where the expression of the question, not worked out, is
graded by its value too, as it is in every problem.
"""

import warnings
from collections.abc import Mapping

from laconic.errors import LaconicWarning, ProblemsError

_NUMBER_STATED = "the number that its question states would be graded correct, since it is equal to the answer"
_FORM_STATED = "what its question states would be graded correct, since only the form of the answer differs from it"
_NO_ANSWER = "its items store no answer"

UNGRADABLE_TASKS: Mapping[str, str] = {
    "countdown": _NUMBER_STATED,
    "puzzle24": _NUMBER_STATED,
    "prime_factorization": _NUMBER_STATED,
    "fraction_simplification": _FORM_STATED,
    "polynomial_multiplication": _FORM_STATED,
    "intermediate_integration": "some of its stored answers hold the integral that its question states",
    "power_function": "its question asks for 3 significant figures, which would be graded wrong, since the stored answer has all",
    "modulo_grid": "rows of signs are read as products, so that those of another order would be graded correct",
    **dict.fromkeys(
        ("word_sorting", "word_sequence_reversal"),
        "its words in another order would be graded correct, since a list of answers has no order",
    ),
    "spell_backward": "a word of three letters, not turned round, would be graded correct, since letters are read as a product",
    **dict.fromkeys(("boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"), _NO_ANSWER),
}
"""Tasks that cannot be loaded, each with the reason."""

MANY_ANSWERS = frozenset(
    {
        "cryptarithm",
        "group_anagrams",
        "jugs",
        "knight_swap",
        "n_queens",
        "palindrome_generation",
        "palindrome_partitioning",
        "quantum_lock",
        "shortest_path",
        "sokoban",
        "tower_of_hanoi",
        "word_ladder",
    }
)
"""Tasks with several right answers."""

_INSTEAD = "write its items to a file, and grade them by a function of your own (docs/own_grader.md)"


def check_gradable(task: str, source: str) -> None:
    """Warn of a task with many right answers. Raises `ProblemsError` for one whose answers cannot be graded."""
    if task in UNGRADABLE_TASKS:
        raise ProblemsError(
            f"{source}: {task} cannot be graded by its stored answers: {UNGRADABLE_TASKS[task]}; {_INSTEAD}"
        )
    if task in MANY_ANSWERS:
        said = f"a problem of {task} has many right answers, and only the stored one is graded correct; to accept the others,"
        warnings.warn(f"{source}: {said} {_INSTEAD}", LaconicWarning, stacklevel=2)
