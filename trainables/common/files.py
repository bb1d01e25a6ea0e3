"""Files that a crash cannot cut: a reader sees the old one or the new one, whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_durably(path: Path, content: bytes) -> None:
    """Temporary file beside path, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Indented, and durably."""
    write_durably(path, (json.dumps(content, indent=2) + "\n").encode())
