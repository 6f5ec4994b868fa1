"""Figures of stored traffic over time: pages, alarms, live comparisons.

Its modules, in reading order:

- `figures`: figures by day, version, route and tag, from sums that the database makes
- `versions`: two versions compared by their users, with intervals that hold at every time of looking
- `candidates`: the rules that end a candidate, and writing down what they decide
- `brevity`: the over-brevity watch: do users complain more where the model thinks less?
- `drift`: whether the prompts of this week are like those of the week before
- `overview`: everything that a page shows, read from the store
- `charts`: draws the figures of the page
- `page`: puts the page together
"""
