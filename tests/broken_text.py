"""Contents of files that no file should have: what each door must turn into one line."""

DEEP = 100_000
ANSI = "\x1b]0;owned\x07\x1b[31mred\x1b[0m\r\x9b2J\u202etxt\u2028"
"""Sets a terminal's title, rings, colours, overwrites, clears, turns the direction of writing, and ends a line."""

BROKEN_JSON: dict[str, tuple[bytes, str]] = {
    "half of a character": (b'{"id": "\\ud800"}', "holds '\\ud800', half of a character"),
    "half of a character in a key": (b'{"\\uDC00": 1}', "holds '\\udc00', half of a character"),
    "its bytes": (b'{"id": "\xed\xa0\x80"}', "not UTF-8"),
    "lists": (b"[" * DEEP + b"]" * DEEP, "nested more than 100 deep"),
    "objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "nested more than 100 deep"),
    "just too deep": (b"[" * 101 + b"1" + b"]" * 101, "nested more than 100 deep"),
    "NaN": (b'{"answer": NaN}', "NaN is no number"),
    "infinity": (b'{"answer": -Infinity}', "-Infinity is no number"),
    "overflow": (b'{"answer": 1e400}', "1e400 is beyond the range"),
    "digits": (b'{"answer": ' + b"9" * 5000 + b"}", "not JSON"),
    "half of an object": (b'{"answer": [', "not JSON"),
    "a key twice": (b'{"answer": 1, "answer": 2}', "the key 'answer' stands twice"),
    "two objects": (b"{} {}", "not JSON"),
    "null bytes": (b"\0\0\0", "not JSON"),
    "UTF-16": ("{}".encode("utf-16"), "not UTF-8"),
}
"""By name: the content, and what is said of it."""

BROKEN_TOML: dict[str, tuple[bytes, str]] = {
    "lists": (b"a = " + b"[" * DEEP + b"]" * DEEP, "nested more than 100 deep"),
    "dotted keys": (b"a" + b".a" * 200 + b" = 1", "nested more than 100 deep"),
    "not UTF-8": (b"a = '\xff'", "can't decode byte 0xff"),
    "UTF-16": ("a = 1".encode("utf-16"), "can't decode byte 0xff"),
    "half of a character": (b'a = "\\ud800"', "not a Unicode scalar value"),
    "digits": (b"a = 0x" + b"f" * 5000, "a number that is too large"),
    "half of a line": (b"a = ", "Invalid value"),
    "a key twice": (b"a = 1\na = 2", "Cannot overwrite a value"),
}

VALUES: dict[str, str] = {
    "null": "null",
    "true": "true",
    "false": "false",
    "zero": "0",
    "negative": "-1",
    "fraction": "1.5",
    "nan": "NaN",
    "infinity": "-Infinity",
    "overflow": "1e400",
    "huge": str(10**18),
    "beyond 64 bits": str(2**64),
    "4000 digits": "9" * 4000,
    "5000 digits": "9" * 5000,
    "text": '"x"',
    "empty text": '""',
    "blank": '" "',
    "half of a character": '"4\\ud800"',
    "control": '"\\u001b[31mred\\u0007\\r\\u009b2J\\u202e"',
    "null byte": '"a\\u0000b"',
    "list": "[1]",
    "empty list": "[]",
    "list of lists": "[[[]]]",
    "object": '{"a": 1}',
    "deep": "[" * DEEP + "]" * DEEP,
}
"""Values in JSON, of which any field of a record may get any."""
