"""What a label is expected to tell: the information by which the next one is chosen. In nats.

1. Of a solve rate: with c of n attempts correct it has a Beta(1 + c, 1 + n - c) posterior (`solve_rate.py`). One more attempt is
   expected to tell I = H(E[theta]) - E[H(theta)]: what cannot be foretold of its outcome, minus what could not be foretold even
   if the solve rate were known (BALD, Houlsby et al. 2011, arXiv 1112.5745, eq. 2). It falls with n, and of problems attempted
   equally often it is largest where the solve rate is near one half.
2. Of a gold answer: when a labeller says whether an answer with belief p is right, the label is known once the gold answer is, so
   that the second part of BALD is 0 and I = H(p), the entropy of one yes or no. A labeller who errs with a known chance leaves
   I = H(p (1 - error) + (1 - p) error) - H(error).
3. The belief in an answer: of the answers seen and one that nobody gave, each is as likely right at first, and a response gives
   the right one `odds` times as likely as any other. Then P(v) is proportional to odds^votes(v), and the log-odds of two answers
   are their difference in votes times ln odds (Nitzan and Paroush 1982, "Optimal decision rules in uncertain dichotomous choice
   situations", for voters of equal skill).
"""

from collections.abc import Sequence
from math import log

from scipy.special import digamma

from laconic.config.defaults import LABEL_ERROR, VOTE_ODDS


def binary_entropy(probability: float) -> float:
    """-p ln p - (1 - p) ln (1 - p), in nats; 0 at 0 and 1.

    >>> round(binary_entropy(0.5), 6), binary_entropy(1.0)
    (0.693147, 0.0)
    """
    return sum(p * -log(p) for p in (probability, 1.0 - probability) if p > 0.0)


def attempt_information(attempts: int, correct: int) -> float:
    """Expected information of one more attempt about the solve rate, in nats.

    With theta ~ Beta(a, b): E[theta ln theta] = a / (a + b) (psi(a + 1) - psi(a + b + 1)).

    >>> round(attempt_information(0, 0), 6)  # the uniform prior: ln 2 - 1/2
    0.193147
    >>> attempt_information(16, 8) > attempt_information(16, 0) and attempt_information(2, 1) > attempt_information(16, 8)
    True
    """
    a, b = 1 + correct, 1 + attempts - correct
    known = sum(x / (a + b) * float(digamma(x + 1) - digamma(a + b + 1)) for x in (a, b))
    return binary_entropy(a / (a + b)) + known


def beliefs(votes: Sequence[int], odds: float = VOTE_ODDS) -> list[float]:
    """The belief in each answer, given the votes of all.

    >>> beliefs([1], odds=3.0), [round(p, 3) for p in beliefs([2, 1], odds=3.0)]  # 3 / (3 + 1); 9 and 3 of 9 + 3 + 1
    ([0.75], [0.692, 0.231])
    """
    most = max(votes, default=0)
    weights = [odds ** (count - most) for count in votes]
    total = sum(weights) + odds**-most
    return [weight / total for weight in weights]


def label_information(probability: float, error: float = LABEL_ERROR) -> float:
    """Expected information of a labeller's "right" or "wrong" about an answer that is right with a probability, in nats; `error`
    is the chance that the labeller errs, below one half.

    >>> round(label_information(0.5, error=0.0), 6), round(label_information(0.5, error=0.1), 6)
    (0.693147, 0.368064)
    """
    said = probability * (1.0 - error) + (1.0 - probability) * error
    return binary_entropy(said) - binary_entropy(error)
