"""A gateway's file with a candidate, prices and limits, for several tests. Not a test module."""

FILE = """
keys = "keys.txt"
[upstreams.main]
url = "http://127.0.0.1:8000/v1/"
model = "org/model"
key_env = "MAIN_KEY"
[upstreams.new]
url = "https://host/v1"
[routes."org/short"]
upstreams = ["main"]
version = "2026-11"
texts = "consent"
tags = ["law"]
prices = {prompt = 0.1, completion = 0.4}
budget = 2048
[routes."org/short".candidate]
upstreams = ["new"]
version = "2026-12"
share = 0.1
[limits]
per_minute = 60
"""
