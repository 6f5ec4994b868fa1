"""Random streams addressed by name.

Every random choice in Laconic is drawn from a stream that is named by what the choice is for, for example
`stream(seed, "rollout", step, problem_id)`. The name is hashed, so

1. neighbouring seeds, splits and steps share nothing (a generator seeded with `seed + index` makes seeds 0 and 1 share
   499 of 500 problems);
2. no generator state exists, so a resumed run draws what an uninterrupted one would have drawn;
3. the order in which two streams are used changes neither.

What is left out: cryptographic strength, which nobody here needs, and torch, which lives in higher floors and takes its
seeds from `seed_of`.
"""

import hashlib
import random

AddressPart = str | int


def seed_of(seed: int, *address: AddressPart) -> int:
    """A 63-bit non-negative integer that depends on `seed` and on every part of the address, types included.

    >>> seed_of(0, "problems", 1) == seed_of(0, "problems", 1)
    True
    >>> seed_of(0, "problems", 1) == seed_of(1, "problems", 0)
    False
    >>> seed_of(0, "a", "b") == seed_of(0, "ab")
    False
    """
    name = repr((int(seed), *address)).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1


def stream(seed: int, *address: AddressPart) -> random.Random:
    """A generator of its own for the place named by `address`."""
    return random.Random(seed_of(seed, *address))
