"""What `texts` claims: repetition counted by tokens, garbling found by rules, and mathematics left in peace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.rewards.text_rules import count_repeated, foreign_share, garbling, num_broken, num_mixed_words


@pytest.mark.parametrize(
    ("tokens", "ngram", "repeated"),
    [
        ("abcdabcd", 4, 4),  # the second four
        ("abcdXabcd", 4, 4),
        ("abab", 2, 2),
        ("ababa", 2, 3),  # overlapping repeats count each token once
        ("aaaaa", 2, 4),  # all but the first token
        ("abc", 4, 0),  # too short to hold one
        ("", 1, 0),
        ("abca", 1, 1),
    ],
)
def test_count_repeated_counts_tokens_of_ngrams_seen_before(tokens, ngram, repeated):
    """The first occurrence is free."""
    assert count_repeated(tokens, ngram) == repeated


def slow_count(tokens, ngram):
    """The rule said plainly: mark every token of an n-gram that starts somewhere earlier too."""
    grams = [tuple(tokens[i : i + ngram]) for i in range(len(tokens) - ngram + 1)]
    return len({i + k for i, gram in enumerate(grams) if gram in grams[:i] for k in range(ngram)})


@given(st.lists(st.integers(0, 2), max_size=12), st.integers(1, 4))
def test_count_repeated_equals_the_slow_count(tokens, ngram):
    """Against an oracle that marks positions one by one."""
    assert count_repeated(tokens, ngram) == slow_count(tokens, ngram)


def test_count_repeated_refuses_an_empty_ngram():
    """Zero tokens repeat everywhere."""
    with pytest.raises(ValueError, match="ngram"):
        count_repeated("ab", 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        r"Let $\Delta x = Δx$ and π ≈ 3.14, ℓ ∈ ℝ, so \boxed{\frac{1}{2}}.",
        "naïve café, über ångström",
        "设 x 为正数，则 2x + 3y = 12，所以 y = 数x。",
        "日本語の文章とカタカナ、そして漢字。" * 5,
        "Привет, это обычный русский текст без ошибок, x = 5.",
        "A tab\tand\r\nlines, an emoji 🙂 and 5 °C",
        r"Пусть $x$ — искомое число. Итак, $\frac{x}{2}+3=7$, откуда $\frac{x}{2}=4$, значит, $x=8$. Ответ: $\boxed{8}$.",
        r"В треугольнике ABC стороны AB, BC и CA равны a, b и c, причём \angle ABC = 90^\circ, откуда S = \frac{ac}{2} = 6.",
        r"设这个数为 $x$,由条件得 $\frac{x}{2}+3=7$,所以 $\frac{x}{2}=4$,因此 $x=8$,这就是我们要求的数,答案是 $\boxed{8}$。",
        r"मान लीजिए संख्या $x$ है। तब $\frac{x}{2}+3=7$, इसलिए $x=8$ होगा, और यही हमारा उत्तर है: $\boxed{8}$।",
        "cut off inside a character \ufffd\ufffd\ufffd",
    ],
)
def test_sound_texts_break_no_rule(text):
    """Mathematics, accents, languages that write without spaces, and an end cut off inside a character."""
    assert garbling(text) == ""


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("ok \ufffd\ufffd\ufffd\ufffd", "broken characters"),
        ("\x00\x01\x02\x03", "broken characters"),
        ("\ue000" * 4, "broken characters"),
        ("thе sаme wоrd", "mixed scripts"),  # Cyrillic е, а, о inside Latin words
        ("so the answer is four and that is all there is to say about it 但是我们还需要再检查一下", "mixed languages"),
    ],
)
def test_garbled_texts_name_the_rule_they_break(text, rule):
    """The first broken rule is told."""
    assert garbling(text) == rule


def test_the_thresholds_are_options():
    """Three mixed words of three; a quarter of 80 letters foreign; four broken characters."""
    assert num_mixed_words("thе sаme wоrd") == 3
    assert garbling("thе sаme wоrd", max_mixed=3) == ""
    mixed = "a" * 60 + " " + "ж" * 20
    assert foreign_share(mixed) == pytest.approx(0.25)
    assert (garbling(mixed, foreign_frac=0.25), garbling(mixed, foreign_frac=0.24)) == ("", "mixed languages")
    assert num_broken("\ufffd\x07\n\t") == 2


def test_a_short_text_has_no_commonest_language():
    """Below 50 letters a share says nothing."""
    assert foreign_share("привет x") == 0.0
