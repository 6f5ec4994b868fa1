"""Corpus BLEU, by hand and against sacrebleu over the whole corpus at once."""

from math import exp, isnan

import pytest

from laconic.statistics.bleu import CorpusBleu

PAIRS = [
    ("the answer is 12 because 3 + 9 = 12", "the answer is 12 since 3 + 9 = 12"),
    ("first add 4 and 5 , which makes 9", "add 4 and 5 to get 9"),
    ("I do not know", "take 7 from 20 , which leaves 13"),
]


sacrebleu = pytest.importorskip("sacrebleu")


def score_of(*pairs: tuple[str, str]) -> float:
    bleu = CorpusBleu()
    for text, reference in pairs:
        bleu.add(text, reference)
    return bleu.score


def test_it_is_that_of_the_whole_corpus() -> None:
    """Counts are summed before the ratio is taken, so it is not the mean of the sentences' scores."""
    texts, references = zip(*PAIRS, strict=True)
    whole = sacrebleu.corpus_bleu(list(texts), [list(references)]).score
    assert score_of(*PAIRS) == pytest.approx(whole, abs=1e-9)
    assert abs(whole - sum(score_of(pair) for pair in PAIRS) / 3) > 1


def test_the_same_text_has_100_and_a_short_one_the_penalty_for_brevity() -> None:
    """Five words of ten, all n-grams right: 100 * exp(1 - 10 / 5) (Papineni et al. 2002, section 2.2.2)."""
    words = "one two three four five six seven eight nine ten"
    assert score_of((words, words)) == pytest.approx(100.0)
    assert score_of(("one two three four five", words)) == pytest.approx(100 * exp(-1), abs=1e-9)


def test_of_no_pairs_there_is_none() -> None:
    assert isnan(CorpusBleu().score)
