"""A model with its card and its measured figures, for a folder or the hub.

Its modules, in reading order:

- `measured_run`: a finished run as it is published: its recipe, its phases and what was measured of its result
- `origin`: where a run's problems came from, and that none of them was forgotten since
- `places`: a recipe without the folders and servers of the machine on which it was trained
- `licence`: the licence and the base model as the hub names them
- `markdown`: words of others in a card
- `training_words`: a recipe in words
- `hub_results`: measured figures as the hub reads them
- `card`: the model card
- `folder`: the program: everything that is published, in one folder
- `push`: sends such a folder to the hub
"""
