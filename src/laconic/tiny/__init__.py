"""The embedded reasoner: a causal LM small enough to train in minutes, large enough to overthink.

`tokens`, `tasks`, `traces` and `anatomy` are pure; `build` trains the bundled checkpoint from scratch, `measure` prints
what it shows. Run them as `python -m laconic.tiny build` and `python -m laconic.tiny measure`.
"""
