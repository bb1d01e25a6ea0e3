"""Extending a study that has begun: what of its settings may grow, and how spec.json and ledger come to agree on it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from study.core.commands import option_words
from study.core.errors import StudyError
from study.core.extension import Extension
from study.core.invocation import invocation
from study.core.ledger import EXTENDED, Event, Ledger
from study.core.parsing import table_of
from study.core.run_dir import write_spec
from study.core.spec import StudySpec, option_name, validated
from study.tasks.study import Study, chosen_arms

GROWING = ("trials_per_arm", "retest_seeds", "arms")
"""The settings that may grow: new totals, and arms that come to those there are."""

_STATED_BEFORE = "a rule by which seeds are added holds where it was stated before the first test"
_REASONS = {
    "max_epochs": "the learning rate of a trial follows from its length from the first epoch on, so that one that was "
    "trained for the old length is no beginning of one of the new",
    "retest_until": _STATED_BEFORE,
    "max_retest_seeds": _STATED_BEFORE,
}


def extended(study: Study, spec: StudySpec, given: Mapping[str, Any], *, command: str, num_retests: int) -> StudySpec:
    """The spec with what is given, and with an extension that says so; spec itself where nothing is new.

    given: settings by name, None for those that are not. command, num_retests: see Extension. Raises StudyError for a
    setting that may not change, and for a number that is smaller than it was.
    """
    given = {name: value for name, value in given.items() if value is not None}
    asked = validated(study.spec, given)
    grown: dict[str, Any] = {}
    for name in given:
        before, after = getattr(spec, name), getattr(asked, name)
        if name == "arms":
            after = (*before, *(arm for arm in chosen_arms(study, after) if arm not in before))
        if after == before:
            continue
        if name not in GROWING or (reason := _obstacle(spec, name)):
            raise _refused(spec, name, after, reason if name in GROWING else _REASONS.get(name))
        if name != "arms" and after < before:
            raise StudyError(f"{option_name(name)} is {before} in {spec.run_dir} and can only grow, got {after}")
        grown[name] = after
    if not grown:
        return spec
    extension = Extension(
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command,
        num_retests=num_retests,
        before=spec.model_dump(mode="json", include=set(grown)),
        after=spec.model_copy(update=grown).model_dump(mode="json", include=set(grown)),
    )
    return _with(spec, extension)


def agreed(spec: StudySpec, ledger: Ledger) -> StudySpec:
    """Commit the extensions of spec and ledger that the other one lacks. Returns the spec with all of them.

    An extension is in the ledger before it is in spec.json. Whichever a kill, or damage, left without one gets it from
    the other, so that the study goes on with what was asked for, or as if that had never been.
    """
    recorded = ledger.book.extensions
    for extension in recorded[len(spec.extensions) :]:
        spec = _with(spec, extension)
    if lacking := spec.extensions[len(recorded) :]:
        ledger.append(*(Event(kind=EXTENDED, payload=extension.model_dump(mode="json")) for extension in lacking))
    if spec.extensions:
        write_spec(spec)
    return spec


def _with(spec: StudySpec, extension: Extension) -> StudySpec:
    extensions = (*spec.extensions, extension)
    return validated(type(spec), {**spec.model_dump(), **extension.after, "extensions": extensions})


def _obstacle(spec: StudySpec, name: str) -> str | None:
    """Why this setting of this study may not grow, though it may in others."""
    if name == "trials_per_arm" and spec.searcher == "grid":
        return "a grid is laid out for so many trials, and one of more has other points"
    if name == "retest_seeds" and spec.retest_until is not None:
        return _STATED_BEFORE
    if name == "retest_seeds" and spec.searches > 1:
        return "the seeds of a search begin where those of the one before end"
    return None


def _refused(spec: StudySpec, name: str, after: Any, reason: str | None) -> StudyError:
    option, before = option_name(name), getattr(spec, name)
    why = reason or "what was trained and judged by one setting is not compared with what is by another"
    another = " ".join([invocation("study.fork"), str(spec.run_dir), *option_words({name: after})])
    return StudyError(
        f"{option} is {_text(before)} in {spec.run_dir} and cannot become {_text(after)}: {why}; for another study "
        f"that begins with its trials: {another}"
    )


def _text(value: Any) -> str:
    if value is None:
        return "not given"
    if isinstance(value, dict):
        value = [f"{knob}={setting}" for knob, setting in table_of(value, "").items()]
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
