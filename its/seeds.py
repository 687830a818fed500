"""Seeds derived from the identity of an item, never from global state or the order of work."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator


def derive_seed(*parts: str | int) -> int:
    """A seed in [0, 2**31) that depends on all parts and on nothing else.

    The parts are joined with a separator that no part may contain, so ("ab", "c") and ("a", "bc") differ. 31 bits,
    because torch's CPU generator and the OpenAI API both accept that range.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 2**31


def derive_seeds(*parts: str | int, count: int) -> Iterator[int]:
    """`derive_seed(*parts, INDEX)` for each index below the count; the parts are hashed once."""
    begun = hashlib.sha256("".join(f"{type(part).__name__}:{part}\x1f" for part in parts).encode())
    for index in range(count):
        digest = begun.copy()
        digest.update(b"int:%d" % index)
        yield int.from_bytes(digest.digest()[:8], "big") % 2**31


def derive_random(*parts: str | int) -> random.Random:
    """A separate random generator for one item, seeded with `derive_seed`."""
    return random.Random(derive_seed(*parts))
