"""Random streams addressed by name.

Every random choice in Laconic is drawn from a stream that is named by what the choice is for, for example
`stream(seed, "rollout", step, problem_id)`. The name is hashed, so

1. neighbouring seeds, splits and steps share nothing (with generators seeded by `seed + index`, seeds 0 and 1 would share
   499 of 500 problems);
2. there is no generator state to save: a resumed run draws what an uninterrupted one would have drawn;
3. the numbers of a stream do not depend on whether another stream was used before it.

What is left out: cryptographic strength, which is not needed here, and torch's generators: the packages that use torch seed
them with `seed_of`.
"""

import hashlib
import random

AddressPart = str | int

LARGEST_SEED = 2**63 - 1
"""Of the seeds that a person gives; what is stored and sent to servers has room for it."""


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
    """A new generator for the purpose that `address` names; the same seed and address always give the same numbers."""
    return random.Random(seed_of(seed, *address))
