"""An OpenAI-compatible server of a small model on this machine: `python -m laconic.serving.local_server MODEL`.

Its modules, in reading order:

- `jobs`: one response to draw, and what is known of it while it is drawn
- `live_rows`: the rows that are being drawn, which others join and leave at every step
- `worker`: the thread that draws, and the queue before it
- `bodies`: from the JSON of a request to jobs
- `replies`: from what was drawn to the JSON of replies
- `app`: the HTTP side
"""
