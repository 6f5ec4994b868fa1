"""Runs and evaluations as one self-contained page, built from their files alone. No torch.

Its modules, in reading order:

- `data`: frozen records of which a report is made
- `numbers`: numbers as a page writes them
- `changes`: what comparisons say of the models of a report
- `read`: reads the files of runs and evaluations
- `words`: puts results into words and table cells
- `slices`: the changes on parts of a benchmark, as a table
- `svg`: a small drawing board
- `figures`: the figures that summarise
- `distributions`: the figures drawn from single responses
- `training`: training curves by grade
- `shelf`: response texts packed into chunks that a browser opens one at a time
- `browser`: the index that the page's browser of responses reads
- `page_templates`: the jinja2 templates of the HTML pages
- `build`: puts the page together
"""
