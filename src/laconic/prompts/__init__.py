"""From a problem to the token ids that a model reads, and where its thinking ends.

Its modules, in reading order:

- `thinking`: the number of tokens before the end of thinking
- `instructions`: the instruction that follows the question, and rendering the whole prompt to token ids
- `forced_answers`: the text that ends a model's thinking so that it must answer
"""
