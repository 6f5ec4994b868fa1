"""Runs and evaluations as one self-contained page, built from their files alone. No torch.

Its modules, in reading order:

- `data`: what a report is made of: frozen records
- `numbers`: numbers as a page writes them
- `changes`: what comparisons say of the models of a report
- `read`: what runs and evaluations left, read
- `words`: what came of it, in words and table cells
- `svg`: a small drawing board
- `figures`: the figures that summarise
- `distributions`: the figures drawn from single responses
- `training`: training curves by grade
- `shelf`: response texts packed into chunks that a browser opens one at a time
- `browser`: the index that the page's browser of responses reads
- `page_templates`: the jinja2 templates of the HTML pages
- `build`: the page
"""
