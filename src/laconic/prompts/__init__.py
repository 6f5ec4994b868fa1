"""From a problem to the token ids that a model reads, and where its thinking ends.

Its modules, in reading order:

- `thinking`: the marks around thinking, and the number of tokens before its end
- `day`: the day that chat templates see, which is a run's first one
- `templates`: chat templates, which are programs, rendered within a time limit
- `endings`: the tokens that end a response, and the one that closes a text to learn from
- `instructions`: the instruction that follows the question, and rendering the whole prompt to token ids
- `refusals`: what a tokenizer cannot do: render a prompt, or write a number
- `hesitations`: words with which a model hesitates, as tokens whose logits a penalty lowers
- `forced_answers`: the text that ends a model's thinking so that it must answer
"""
