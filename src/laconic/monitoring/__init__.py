"""Figures of stored traffic over time: pages, alarms, live comparisons.

Its modules, in reading order:

- `requests`: which requests count, and what each of them adds to every figure
- `columns`: stored requests as columns of numbers, read once, and what is added up from them
- `figures`: figures by day, version, route and tag
- `versions`: two versions compared by their users, with intervals that hold at every time of looking
- `candidates`: the rules that end a candidate, and writing down what they decide
- `brevity`: the over-brevity watch: do users complain more where the model thinks less?
- `drift`: whether the prompts of this week are like those of the week before
- `overview`: everything that a page shows, read from the store
- `charts`: draws the figures of the page
- `page`: puts the page together
"""
