"""checksums.json: the SHA-256 of a run directory's files, by which a changed byte in any of them is known."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path

from study.core.parsing import parse_json
from trainables.common.files import json_bytes, write_durably

CHECKSUMS = "checksums.json"
_WRITING = threading.RLock()  # a study whose Ray is lost is concluded by another thread


class DamagedFileError(ValueError):
    """A file is not what was written."""


def write_checked(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files of the folder durably, and before them their checksums beside those of what they replace.

    So at no moment does a file lack its checksum, whenever the process is killed.
    """
    with _WRITING:
        _write_checked(folder, contents)


def _write_checked(folder: Path, contents: Mapping[str, bytes]) -> None:
    try:
        known = _known(folder)
    except DamagedFileError:
        known = {}  # what it said of other files is lost; they are written again sooner or later
    for name, content in contents.items():
        replaced = [_sha256((folder / name).read_bytes())] if (folder / name).is_file() else []
        known[name] = [_sha256(content), *(old for old in replaced if old in known.get(name, replaced))]
    write_durably(folder / CHECKSUMS, json_bytes({"files": known, "sha256": _sha256(_listed(known))}))
    for name, content in contents.items():
        write_durably(folder / name, content)


def read_checked(path: Path) -> bytes:
    """The file's content. Raises DamagedFileError if it is not what was written, OSError.

    A file that checksums.json does not know, as in runs of before, is taken as it is.
    """
    content = path.read_bytes()
    if not is_as_written(path.parent, path.name, content):
        raise DamagedFileError(f"{path} is damaged: it is not what was written")
    return content


def is_as_written(folder: Path, name: str, content: bytes) -> bool:
    """Whether the content is that of the file of that name. Raises DamagedFileError if checksums.json is damaged."""
    known = _known(folder).get(name)
    return known is None or _sha256(content) in known


def _known(folder: Path) -> dict[str, list[str]]:
    path = folder / CHECKSUMS
    try:
        document = parse_json(path.read_text())
        files: dict[str, list[str]] = document["files"]
        if document["sha256"] == _sha256(_listed(files)):
            return files
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError):
        pass
    raise DamagedFileError(f"{path} is damaged: it is not what was written")


def _listed(files: Mapping[str, list[str]]) -> bytes:
    return json.dumps(files, sort_keys=True).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
