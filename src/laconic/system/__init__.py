"""This machine: its files, threads, child processes and screen, and the hub beyond it.

Its modules, in reading order:

- `text`: text from outside: JSON and TOML that can be stored, and text that a terminal may show
- `files`: text files written whole or not at all, and JSON lines read with their line numbers
- `checksums`: checksums of a folder's files, so that damage is noticed
- `locks`: a folder in which one process works at a time
- `termination`: signals, which end a program at the next point at which nothing is lost
- `fields`: a JSON object read key by key, with a one-line error for each mistake
- `processor`: the processor's name and instruction sets
- `threads`: how many threads compute, and how busy other processes keep the cores
- `screen`: the terminal, on which text from outside changes nothing
- `progress`: the live line, or plain lines, that a person sees while a program works
- `child_processes`: child processes that answer questions within a hard time limit
- `confinement`: the life of a child process that runs other people's code
- `foreign_code`: other people's code in a child process that cannot take this one with it
- `own_files`: a user's own function in a Python file, for a reward or a grader
- `hub`: whether the hub answers, and whether it has a model or dataset of a name
"""
