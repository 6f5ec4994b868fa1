"""Float32 matrix products on a CPU.

Its modules, in reading order:

- `product_path`: by which library they run on this machine
- `onednn`: products through oneDNN
- `packed`: products by weights that lie in the order in which the library reads them
"""
