"""GGUF files, the single-file format of llama.cpp, as models.

Its modules, in reading order:

- `header`: what a file states, read without its weights
- `model_file`: a file as a model: config, tokenizer, dequantized weights
"""
