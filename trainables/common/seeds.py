"""Seeds that are functions of their purpose, so that no generator's state needs to be saved."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from the text of parts: derive_seed(0, "order", 3) is the same in every process and version."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
