"""JSON and TOML that a user handed in: whatever is wrong with it is a ValueError of one sentence."""

from __future__ import annotations

import json
import re
import reprlib
import tomllib
from collections.abc import Callable
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


def shown(value: Any) -> str:
    """A value in an error's sentence, shortened if it is long."""
    shortened = reprlib.Repr()
    shortened.maxstring = shortened.maxother = shortened.maxlong = SHOWN_LENGTH
    shortened.maxlist = shortened.maxtuple = shortened.maxdict = 50
    try:
        return shortened.repr(value)
    except ValueError:  # a whole number of more digits than Python converts, written in hexadecimal
        return "a number of too many digits"
