"""Engines that draw responses: token ids, or the turns of a conversation, to responses.

Its modules, in reading order:

- `protocol`: a request, and what every engine can do
- `drawing`: logits to tokens, by one uniform number for each row and step
- `cache`: keys and values of rows of different length, in pages
- `decoders`: one step of decoding: the model's own modules, or fused ones
- `local`: the local sampler: any Hugging Face causal LM, in this process
- `wire`: what goes over the wire to an OpenAI-compatible endpoint, and what comes back
- `pacing`: when to send the next request to a server that others use too
- `endpoints`: where a model is served: addresses, keys, and what is known there
- `http`: the sampler that asks an endpoint
"""
