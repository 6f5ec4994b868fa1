"""GGUF files, the single-file format of llama.cpp, as models.

Its modules, in reading order:

- `header`: what a file states, read without its weights
- `architecture_fields`: what the header says of the architecture, in the config or refused
- `model_file`: a file as a model: config, tokenizer, dequantized weights
"""
