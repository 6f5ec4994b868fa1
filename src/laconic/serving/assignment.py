"""Who gets the candidate: a user's place between 0 and 1, which stays where it is while the share grows.

    place = SHA-256(experiment, user) / 2^256, and the candidate answers where place < share

1. The same user has the same place in one experiment, so that nobody is moved back and forth, and raising the share only adds
   users.
2. Another experiment (another route or candidate) deals all places anew, so that the same users are not the first each time.
3. A request that names no user has a place of its own.

The user is a pseudonym, which is salted already (`traffic/pseudonyms.py`): places say nothing about names.
"""

import hashlib


def place_of(experiment: str, who: str) -> float:
    """The place of a user, or of a request, in an experiment: in [0, 1), uniform over users.

    >>> place_of("maths/v2", "ann") == place_of("maths/v2", "ann"), place_of("maths/v2", "ann") == place_of("maths/v3", "ann")
    (True, False)
    """
    address = f"{len(experiment)}:{experiment}{who}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.sha256(address).digest()[:8], "big")
    return (number >> 11) / (1 << 53)  # the bits that a float holds, so that 1 is never reached


def gets_candidate(experiment: str, who: str, share: float) -> bool:
    """Whether the candidate answers this user, or this request."""
    return place_of(experiment, who) < share
