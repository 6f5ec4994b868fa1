"""From numbers to claims with intervals: pure functions of numpy arrays.

Its modules, in reading order:

- `intervals`: estimates with 95% intervals over problems
- `seeds`: means over training seeds
- `verdicts`: what becomes of a claim whose falsifier was measured: it holds, fails, or is undecided
- `clusters`: rates and means over requests, several of which are one user's, from sums that a database makes
- `several`: p-values of several claims, corrected for their number
- `sequential`: differences of two groups of users, with intervals that hold at every time of looking
- `claims`: what an evaluation or a comparison may claim: pass@k, paired differences, non-inferiority
- `solve_rate`: what a probe measured on a problem, and the interval of its solve rate
- `information`: what one more attempt or label is expected to tell
- `majority`: maj@k, how often the most frequent of k answers is right
- `macro_average`: averages over benchmarks that all weigh the same
- `token_complexity`: the fewest tokens with which a model answers, and the accuracy of an oracle that knows them
- `agreement`: how far two labellers agree, beyond chance
- `bleu`: corpus BLEU against worked solutions
"""
