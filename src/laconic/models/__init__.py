"""Weights, and the roles that share them.

Its modules, in reading order:

- `products`: float32 matrix products on a CPU
- `environment`: what a process works with: versions, device, threads
- `waiting`: how threads wait for one another: spinning on idle cores, asleep on busy ones
- `prefixes`: rows that begin alike, computed once
- `causal_lm`: a causal LM, split into backbone and head, with its tokenizer
- `config_numbers`: whether the numbers in a model's config can be meant
- `gguf`: a GGUF file as a model
- `stored_dtype`: in which dtype a model's files hold its weights
- `loading`: from a name to a model that is ready: tokenizer, dtype, device
- `weightless`: a model without its weights, for what can be checked before they are read
- `held_files`: what a model's folder holds, as digests
- `vocabulary`: scores of tokens under a plain output map, with few passes over the logits
- `scoring`: log-probabilities, entropies and KL of response tokens
- `lora`: which layers LoRA adapts, and its adapters on one set of base weights
- `roles`: critics and references
- `teachers`: whether a phase's teacher can teach the model that is trained
- `policy`: the trained model with its critic and its reference
- `sharded_policy`: a policy whose weights are spread over several processes
"""
