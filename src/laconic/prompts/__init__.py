"""From a problem to the token ids that a model is fed, and where its thinking ends.

Its modules, in reading order:

- `thinking`: thinking and answer told apart in a response
- `instructions`: what a model is asked for beside the question, and rendering all of it to token ids
- `forced_answers`: what is written for a model that must answer now
"""
