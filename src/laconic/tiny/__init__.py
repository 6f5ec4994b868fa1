"""The embedded reasoner: a causal LM small enough to train in minutes, large enough to overthink.

Its modules, in reading order:

- `tokens`: its vocabulary, and how text is cut into tokens
- `tasks`: problems whose shortest chain of steps is known
- `traces`: chains of thought in many styles, some of them wrong
- `anatomy`: what the tokens of a trace were spent on
- `build`: `python -m laconic.tiny build` trains the bundled checkpoint from scratch
- `measure`: `python -m laconic.tiny measure` prints what a checkpoint shows
"""
