"""Corpus BLEU of responses against reference solutions: how similar the wording is, not how correct the answer.

1. `CorpusBleu` takes one response and its reference at a time and keeps only counts: n-gram matches, n-grams, lengths.
2. `score` is BLEU-4 of their sums (Papineni et al. 2002), by sacrebleu with its defaults (tokeniser 13a, exponential
   smoothing; Post 2018, arXiv 1804.08771).

sacrebleu is an optional dependency (extra `eval`), imported when a `CorpusBleu` is made.
"""

from math import nan

import numpy as np

from laconic.errors import MissingExtraError

MAX_ORDER = 4


class CorpusBleu:
    """Corpus BLEU that grows by one response at a time. Raises `MissingExtraError` where sacrebleu is not installed."""

    def __init__(self) -> None:
        try:
            from sacrebleu.metrics.bleu import BLEU
        except ImportError:
            raise MissingExtraError("BLEU against reference solutions", "eval") from None
        self._bleu = BLEU(max_ngram_order=MAX_ORDER, tokenize="13a", smooth_method="exp")
        self._matches = np.zeros(MAX_ORDER, dtype=np.int64)
        self._ngrams = np.zeros(MAX_ORDER, dtype=np.int64)
        self._num_words = 0
        self._num_reference_words = 0
        self._num_pairs = 0

    def add(self, text: str, reference: str) -> None:
        """Add the counts of one response and its reference."""
        counts = self._bleu.corpus_score([text], [[reference]])
        self._matches += np.asarray(counts.counts, dtype=np.int64)
        self._ngrams += np.asarray(counts.totals, dtype=np.int64)
        self._num_words += int(counts.sys_len)
        self._num_reference_words += int(counts.ref_len)
        self._num_pairs += 1

    @property
    def score(self) -> float:
        """BLEU of all responses added so far, 0 to 100; `nan` where there are none."""
        if not self._num_pairs:
            return nan
        whole = self._bleu.compute_bleu(
            self._matches.tolist(),
            self._ngrams.tolist(),
            self._num_words,
            self._num_reference_words,
            smooth_method="exp",
            max_ngram_order=MAX_ORDER,
        )
        return float(whole.score)
