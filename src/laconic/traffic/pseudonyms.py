"""A user's name as a salted hash: the store can count and forget a user, and cannot say who it is.

1. The name is what the request calls its user, inside the API key that it came with: two keys never share a user.
2. The pseudonym is HMAC-SHA256 of both under a random salt of 32 bytes (RFC 2104).
3. The salt is a file of its own beside the store, readable by its owner alone. Who has the database without it cannot try names.

Without the salt nobody can be forgotten by name, so it is never made anew where a store exists.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from laconic.errors import InputError

SALT_BYTES = 32


def pseudonym(salt: bytes, key_name: str, user: str) -> str:
    """The pseudonym of a user of a key, 32 hexadecimal digits. A request that names no user has the user ""."""
    text = f"{len(key_name)}:{key_name}{user}".encode("utf-8", "surrogatepass")
    return hmac.new(salt, text, hashlib.sha256).hexdigest()[:32]


def read_salt(path: Path) -> bytes:
    """The salt in a file. Raises `InputError` where there is none."""
    try:
        salt = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the salt of the store cannot be read ({error.strerror})") from None
    if len(salt) != SALT_BYTES:
        raise InputError(f"{path}: holds {len(salt)} bytes, expected a salt of {SALT_BYTES}")
    return salt


def salt_of(path: Path, *, has_users: bool) -> bytes:
    """The salt in a file, which is made where it is missing. Raises `InputError` where the store `has_users` and its salt is
    gone."""
    if has_users:
        return read_salt(path)
    salt = secrets.token_bytes(SALT_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # of an earlier start, or another gateway was quicker
        return read_salt(path)
    except OSError as error:
        raise InputError(f"{path}: the salt of the store cannot be written ({error.strerror})") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(salt)
    return salt
