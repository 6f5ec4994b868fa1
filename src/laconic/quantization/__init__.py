"""Smaller weights, calibrated on the model's own responses.

Its modules, in reading order:

- `schemes`: the schemes, and the libraries that carry them out
- `sources`: whether a model can be quantized
- `calibration`: the text on which a scheme is calibrated
- `libraries`: llm-compressor and torchao, each behind one function
- `quantize`: the program
"""
