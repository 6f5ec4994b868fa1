"""A request to vLLM's `/v1/completions` by token ids, and the response in its reply.

1. Every decoding setting is sent, since vLLM takes those that are missing from the model's generation config. A response ends at
   the tokens at which the local sampler's ends, and at no others (`ignore_eos` with `stop_token_ids`).
2. Every sample is a request with a seed of its own: with `n` above 1 or several prompts in one request, vLLM would give
   neighbouring seeds to the samples, or one seed to all prompts.
3. The reply holds the ids of the response, the end token included, and for each the log-probability with which it was drawn: a
   server with `--logprobs-mode processed_logprobs` takes temperature, top-p and min-p into account.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from laconic.config.solver import SamplerConfig
from laconic.errors import Diverged, ModelError
from laconic.rng import seed_of
from laconic.samplers.protocol import Request
from laconic.samplers.wire import NEUTRAL_SETTINGS, are_logprobs, are_token_ids
from laconic.system.text import brief
from laconic.types import FinishReason, Response

LOWEST_LOGPROB = -9000.0  # vLLM reports -9999 for one that is NaN or minus infinity


def completion_of(
    model: str, request: Request, sample: int, decoding: SamplerConfig, stop_ids: Collection[int], *, seed: int
) -> dict[str, Any]:
    """The JSON of the request for one sample of `request`, drawn by the `model` under the name by which it is served."""
    return {
        "model": model,
        "prompt": list(request.prompt_ids),
        "max_tokens": decoding.max_tokens,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "min_p": decoding.min_p,
        **NEUTRAL_SETTINGS,
        "seed": seed_of(seed, "sample", request.key, sample),
        "ignore_eos": True,
        "stop_token_ids": sorted(stop_ids),
        "logprobs": 0,
        "return_token_ids": True,
        "add_special_tokens": False,
    }


def drawn_response(
    name: str, reply: Any, cap: int, stop_ids: Collection[int], decode: Callable[[Sequence[int]], str]
) -> Response:
    """The response in a reply of the server `name`, asked for with at most `cap` tokens; `decode` makes its text of its ids.

    It has ended where its last token is an end token, even at the cap, as the local sampler has it. Raises `ModelError` where the
    reply lacks the ids or a log-probability of each, or the response ends in another way than was asked for, and `Diverged` where
    a log-probability is none.
    """
    try:
        (choice,) = reply["choices"]
        ids, logprobs = choice["token_ids"], choice["logprobs"]["token_logprobs"]
        is_read = are_token_ids(ids) and are_logprobs(logprobs)
    except (KeyError, TypeError, ValueError):
        is_read = False
    if not is_read:
        raise ModelError(f"{name}: expected the token_ids and logprobs of one response, got {brief(reply)}")
    ids = tuple(ids)
    if len(ids) != len(logprobs):
        raise ModelError(f"{name}: {len(ids)} token_ids came with {len(logprobs)} log-probabilities")
    has_ended = bool(ids) and ids[-1] in stop_ids
    if any(token in stop_ids for token in ids[:-1]) or not (has_ended or len(ids) == cap):
        reason = choice.get("finish_reason")
        raise ModelError(
            f"{name}: a response of {len(ids)} tokens (finish_reason {reason}) ends neither at an end token nor at the cap, {cap}"
        )
    if not all(logprob > LOWEST_LOGPROB for logprob in logprobs):
        raise Diverged(
            f"the log-probabilities of what {name} samples are not finite: the weights are too large, or NaN"
        )
    reason = FinishReason.STOP if has_ended else FinishReason.LENGTH
    return Response(ids, tuple(min(0.0, float(logprob)) for logprob in logprobs), decode(ids), reason)
