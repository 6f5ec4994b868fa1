"""Is a recipe valid? Everything that can be checked is, before anything else is done, and the names in its phases are looked up.

Training, the dry run and doctor ask the same functions. Left out is the shape of the tree (`config/`). Its modules, in reading
order:

- `phases`: a phase checked, and resolved: with the objects that its names refer to
- `model`: what the model makes senseless
- `recipe`: a recipe checked, and what in it is senseless and does no harm
- `problems`: what the problems of a phase lack, for it to train on them
- `servers`: whether the vLLM servers that phases name answer
- `context`: what must fit the model's context
"""
