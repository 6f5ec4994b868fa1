"""Trains the seeker from scratch: `python -m laconic.seeker build --out DIR`. `laconic.tiny.build` does the work.

1. The vocabulary is that of `tokens.py`.
2. The chat template keeps three requests of the lines after the question: a number of tokens (`take 57`), brevity (`no check`)
   and checking twice (`check twice`). It knows them by words, so that instructions of any wording ask for them. They are made of
   words that the model also writes: one that it only ever reads was never learnt (LOG.md, 2026-11-29).
3. The first part of the training shows plain searches of the lower levels, the rest all manners, requests and levels.
"""

from random import Random

from laconic.seeker.searches import SEARCHES, draw_search
from laconic.seeker.tokens import NUMBER_PATTERN, SEARCH_VOCABULARY
from laconic.seeker.traces import INTERRUPTED_SHARE, draw_request, plain_manner, write_search
from laconic.splits import split_of
from laconic.tiny.build import BuildSettings, Lesson

PLAIN_LEVELS, SEARCH_LEVELS = (1, 3), (1, 5)
FAMILY_WEIGHTS = {"pair": 2}
"""How often a family is shown, 1 if it is not named: the order of pairs is learnt slowest."""
REQUEST_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{% set lines = message['content'].split('\\n') %}<|user|>{{ lines[0] }}"
    "{% for line in lines[1:] %}{% set words = line | lower %}"
    "{% if ' tokens' in words %}"
    "{% for word in words.replace('.', ' ').replace(',', ' ').split() if word.isdigit() %} take {{ word }}{% endfor %}"
    "{% elif 'brief' in words or 'concise' in words %} no check"
    "{% elif 'twice' in words %} check twice{% endif %}"
    "{% endfor %}"
    "{% elif message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}<|end|>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
)


def draw_search_and_trace(rng: Random, is_plain: bool) -> tuple[str, str]:
    """A question of the `train` split, with a request if there is one, and a trace that obeys."""
    levels = PLAIN_LEVELS if is_plain else SEARCH_LEVELS
    while split_of((search := draw_search(rng, _draw_family(rng), levels)).question) != "train":
        pass
    if is_plain:
        return search.question, write_search(rng, search, plain_manner(rng, search)).text
    request, manner = draw_request(rng, search)
    is_interrupted = not request and rng.random() < INTERRUPTED_SHARE
    trace = write_search(rng, search, manner, is_interrupted=is_interrupted)
    return f"{search.question} {request}".strip(), trace.text


def _draw_family(rng: Random) -> str:
    return rng.choices(list(SEARCHES), [FAMILY_WEIGHTS.get(family, 1) for family in SEARCHES])[0]


SEARCHING = Lesson("seeker", SEARCH_VOCABULARY, NUMBER_PATTERN, REQUEST_TEMPLATE, draw_search_and_trace)
"""The lesson of `seeker`."""

SEEKER_SETTINGS = BuildSettings(
    SEARCHING,
    steps=8000,
    plain_frac=0.2,
    warmup_steps=50,
    layers=4,
    batch_tokens=4_000,
    attention="eager",
    muon_rate=0.02,
    threads=2,
    length_multiple=16,
)
"""How a checkpoint is trained."""
