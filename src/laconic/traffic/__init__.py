"""What serving leaves behind: figures of every request, texts of those who consented, and feedback.

Its modules, in reading order:

- `records`: what a request and a feedback leave behind
- `conversations`: the messages of a request as they are stored
- `consent`: the one door through which a text can be kept
- `redaction`: what is removed from a text before it is kept
- `pseudonyms`: a user's name as a salted hash
- `tables`: the tables, and why each column is there
- `migrations`: how the tables came to be, step by step
- `store`: the database: writing, feedback, forgetting, retention
- `consented`: what is stored of each request whose texts are there, as rows
- `copies`: takes what was made of forgotten requests out of files
- `exports`: the one door through which texts leave the store, and forgetting in what left
- `labels`: what experts say of stored responses
- `decisions`: what was decided about candidates, and the share of users that follows
- `writer`: the thread that writes, off the way of requests
"""
