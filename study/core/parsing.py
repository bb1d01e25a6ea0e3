"""JSON and TOML that a user handed in: whatever is wrong with it is a ValueError of one sentence."""

from __future__ import annotations

import json
import re
import reprlib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

SHOWN_LENGTH = 300


def parse_json(text: str) -> Any:
    return _parsed(text, json.loads)


def parse_toml(text: str) -> Any:
    return _parsed(text, tomllib.loads)


def _parsed(text: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError):
        raise
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:  # Python converts no more than 4,300 digits
        raise ValueError("a number in it has too many digits") from None


def readable(value: Any) -> Any:
    """A parsed JSON value without lone surrogates, which no file or font takes: "\\\\udce9" becomes its escape."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(re.sub(r"[\ud800-\udfff]", lambda found: rf"\\u{ord(found[0]):04x}", text))


def table_of(value: Any, form: str) -> Any:
    """A table of settings, {name: text}, of NAME=TEXT,NAME=TEXT, of several such texts, or of a TOML table.

    In TOML, numbers and booleans stand for their text, a list for its choices A|B, and a table within the table for
    names that begin with its own. Anything else is returned as it is. form: how the text must look. Raises ValueError.
    """
    if isinstance(value, Mapping):
        return {name: text for key, setting in value.items() for name, text in _flat(str(key), setting)}
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        return value
    found: dict[str, str] = {}
    for pair in (pair.strip() for text in texts for pair in text.split(",")):
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not (name and equals and text):
            raise ValueError(f"must be {form}, got {pair!r}")
        if name in found:
            raise ValueError(f"has {name} twice")
        found[name] = text
    return found


def _flat(name: str, setting: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(setting, Mapping):
        for inner, value in setting.items():
            yield from _flat(f"{name}.{inner}", value)
    elif isinstance(setting, list | tuple):
        yield name, "|".join(_as_text(choice) for choice in setting)
    else:
        yield name, _as_text(setting)


def _as_text(setting: Any) -> Any:
    return str(setting) if isinstance(setting, bool | int | float) else setting


def shown(value: Any) -> str:
    """A value in an error's sentence, shortened if it is long."""
    shortened = reprlib.Repr()
    shortened.maxstring = shortened.maxother = shortened.maxlong = SHOWN_LENGTH
    shortened.maxlist = shortened.maxtuple = shortened.maxdict = 50
    try:
        return shortened.repr(value)
    except ValueError:  # a whole number of more digits than Python converts, written in hexadecimal
        return "a number of too many digits"
