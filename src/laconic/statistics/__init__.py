"""From numbers to claims with intervals: pure functions of numpy arrays.

Its modules, in reading order:

- `intervals`: estimates with 95% intervals over problems
- `claims`: what an evaluation or a comparison may claim: pass@k, paired differences, non-inferiority
- `solve_rate`: what a probe saw of a problem, and what that says of its solve rate
- `majority`: maj@k
- `macro_average`: averages over benchmarks, each counted the same
- `token_complexity`: the fewest tokens with which a model answers, and what an oracle would get
- `bleu`: corpus BLEU against worked solutions
"""
