"""The command line of a study, made from its spec: one option per field, errors in one sentence."""

from __future__ import annotations

import argparse
import errno
import re
import sys
import textwrap
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Union, get_args, get_origin

from study.core.checksums import DamagedFileError, read_checked
from study.core.errors import StudyError, nearest
from study.core.invocation import invocation
from study.core.parsing import parse_json, parse_toml, shown
from study.core.spec import CHOSEN_ONCE, Option, RunSpec, Scope, group_names, literal_choices, option_name, options_of
from study.core.streams import Loudness, make_unfailing
from study.engine import signals
from study.engine.signals import interrupted_status, raise_interrupt, signals_to
from study.tasks.registry import STUDIES, find_study
from study.tasks.study import Study
from trainables.common.files import StorageError
from trainables.common.paths import user_path
from trainables.data.types import DataError


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A command that takes a task and a study's settings.

    scopes: the scopes (see Option) of the spec's fields that are its options. options: its own options, (type, help) by
    name. epilog(study): the end of its --help. also: what else it takes in a task's place, a line for its --help.
    """

    name: str
    scopes: frozenset[str]
    options: Mapping[str, tuple[type, str]]
    epilog: Callable[[Study], str]
    also: str = ""


ALL_SCOPES: frozenset[str] = frozenset(get_args(Scope))

# What is wrong with a path, and not with the program, wherever it is first touched.
BAD_PATHS = {
    errno.ENAMETOOLONG: "is too long for a file name",
    errno.ELOOP: "is a link that leads back to itself",
    errno.EACCES: "may not be read or written by this user",
}


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises StudyError on an error."""

    def error(self, message: str) -> NoReturn:
        raise StudyError(re.sub(r"^argument (\S+): ", r"\1 ", message))


class Help(argparse.RawDescriptionHelpFormatter):
    """The layout of --help. A path or an option is never broken at a dash, so that it can be copied."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False, break_long_words=False)


def run_main(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a verb and exit; a StudyError or DataError becomes one sentence on stderr and exit status 2."""
    make_unfailing()
    signals.owns_process, signals.was_terminated = True, False
    try:
        with signals_to(raise_interrupt):
            status = main(sys.argv[1:])
    except (StudyError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except StorageError as error:
        print(f"error: {error.filename} cannot be written: {error.strerror}", file=sys.stderr)
        status = 2
    except OSError as error:
        if error.errno not in BAD_PATHS or error.filename is None:
            raise
        print(f"error: {error.filename!r} {BAD_PATHS[error.errno]}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = interrupted_status()
    sys.exit(status)


def parse_study(argv: Sequence[str]) -> tuple[Study, dict[str, Any]]:
    """Returns the study and the given values: those of --spec, overridden by the options. Raises StudyError."""
    study, values, _ = parse_verb(RUN, argv)
    return study, values


def parse_verb(verb: Verb, argv: Sequence[str]) -> tuple[Study, dict[str, Any], dict[str, Any]]:
    """Returns the study, the values as in parse_study, and those of the verb's own options. Raises StudyError."""
    names = ", ".join(STUDIES)
    if not argv or argv[0] in {"-h", "--help"}:
        print(f"usage: {invocation(verb.name)} TASK [options]\n\ntasks:")
        for name, study in STUDIES.items():
            print(f"  {name:12} {study.question}")
        if verb.also:
            print(f"  {verb.also}")
        print(f"\n{invocation(verb.name)} TASK --help shows a task's options.")
        sys.exit(0)
    if argv[0].startswith("-"):
        raise StudyError(f"the first argument must be a task, one of {names}, got {argv[0]!r}")
    study = find_study(argv[0])
    parser = _parser(verb, study)
    given, unknown = parser.parse_known_args(argv[1:])
    require_known(parser, unknown)
    own = {name: value for name, value in vars(given).items() if name in verb.options}
    values = {name: value for name, value in vars(given).items() if name != "spec" and name not in own}
    if given.spec is not None:
        values = {**read_spec_file(given_path("--spec", given.spec), study), **values}
    return study, values, own


def read_spec_file(path: Path, study: Study) -> dict[str, Any]:
    """Read the settings in a TOML file or a run's spec.json. Raises StudyError."""
    try:
        text = read_checked(path).decode()
        values = parse_json(text) if path.suffix == ".json" else parse_toml(text)
    except OSError as error:
        raise StudyError(f"--spec {path} cannot be read: {error.strerror}") from None
    except DamagedFileError as error:
        raise StudyError(f"--spec {error}; to change a run's settings, change a copy elsewhere") from None
    except ValueError as error:
        raise StudyError(f"--spec {path} is not valid {path.suffix.lstrip('.') or 'TOML'}: {error}") from None
    if not isinstance(values, dict):
        raise StudyError(f"--spec {path} must hold settings by name")
    task = values.pop("task", study.name)
    if task != study.name:
        raise StudyError(f"--spec {path} is of the task {task!r}, not {study.name!r}")
    # A run's name, numerics and cut are not those of a new run; what a range test suggested is in its start.
    if path.name == "spec.json":
        values.pop("name", None)
        values.pop("start_from_lr_range", None)
    for chosen in CHOSEN_ONCE:
        values.pop(chosen, None)
    return {name.replace("-", "_"): value for name, value in values.items()}


def run_directory(verb: str, argv: Sequence[str]) -> Path:
    """Parse the one argument of a verb that works on a run directory. Raises StudyError."""
    if argv and argv[0] in {"-h", "--help"}:
        print(f"usage: {invocation(verb)} RUN\n\nRUN: a run directory, such as reports/NAME")
        sys.exit(0)
    if len(argv) != 1:
        raise StudyError(f"{verb} takes one argument, a run directory such as reports/NAME")
    return given_path("RUN", argv[0])


def given_path(name: str, text: str) -> Path:
    """The path given as an option or argument of that name. Raises StudyError."""
    try:
        return user_path(text)
    except ValueError as error:
        raise StudyError(f"{name} {error}") from None


def _parser(verb: Verb, study: Study) -> Parser:
    parser = Parser(
        prog=f"{invocation(verb.name)} {study.name}",
        description=f"{study.name}: {study.question}",
        epilog=verb.epilog(study),
        formatter_class=Help,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--spec",
        default=None,
        metavar="FILE",
        help="TOML or a run's spec.json with any of these settings; options override it",
    )
    add_own_options(parser, verb.name, verb.options)
    add_options(parser, study.spec, scopes=verb.scopes, notes=lambda name: _notes(study, name))
    return parser


def add_own_options(parser: Parser, verb: str, options: Mapping[str, tuple[type, str]]) -> None:
    """Add a verb's own options, in a group of its name."""
    if options:
        group = parser.add_argument_group(verb.removeprefix("study."))
        for name, (kind, text) in options.items():
            if kind is bool:
                group.add_argument(option_name(name), dest=name, help=text, action="store_true")
            else:
                group.add_argument(option_name(name), dest=name, help=text, metavar=_metavar(kind), type=_reader(kind))


def add_options(
    parser: Parser,
    spec: type[RunSpec],
    *,
    scopes: frozenset[str] = ALL_SCOPES,
    notes: Callable[[str], tuple[tuple[str, ...], str]] = lambda name: ((), ""),
    shown: Collection[str] | None = None,
) -> None:
    """Add an option for each field of these scopes, by group. notes(name): its choices, and what sets its default.

    shown: the fields that --help has; None: all.
    """
    groups = {name: parser.add_argument_group(name) for name in group_names(spec)}
    for name, option in options_of(spec).items():
        if option.scope not in scopes:
            continue
        field = spec.model_fields[name]
        text = _help(field, option, *notes(name)) if shown is None or name in shown else argparse.SUPPRESS
        arguments: dict[str, Any] = {"dest": name, "help": text}
        if field.annotation in (bool, bool | None):
            arguments["action"] = argparse.BooleanOptionalAction
        elif option.collects:
            arguments |= {"metavar": option.metavar, "action": "append"}
        else:
            arguments["metavar"] = option.metavar or _metavar(field.annotation)
            arguments["type"] = str if option.reads_text else _reader(field.annotation)
        groups[option.group].add_argument(option_name(name), **arguments)
    for group in list(parser._action_groups):
        if not group._group_actions:
            parser._action_groups.remove(group)


def _notes(study: Study, name: str) -> tuple[tuple[str, ...], str]:
    is_preset = any(name in preset for preset in study.presets.values())
    return study.models if name == "model" else (), "by --budget, see below" if is_preset else ""


def _help(field: Any, option: Option, choices: tuple[str, ...], set_by: str) -> str:
    text = field.description.replace("%", "%%")
    if choices := choices or literal_choices(field.annotation):
        text += f": {', '.join(choices)}"
    notes = []
    if option.unit:
        notes.append(f"in {option.unit}")
    if isinstance(field.default, str | int | float | Path) and not isinstance(field.default, bool):
        notes.append(f"default {field.default}")
    elif set_by:
        notes.append(f"default {set_by}")
    return text + (f" [{'; '.join(notes)}]" if notes else "")


def require_known(parser: Parser, unknown: Sequence[str]) -> None:
    """Raise StudyError, with the nearest option, if the parser left an unknown argument."""
    if unknown:
        options = [option for action in parser._actions for option in action.option_strings]
        name = unknown[0].split("=")[0]
        raise StudyError(f"unknown option {name!r}{nearest(name, options)}")


def _presets(study: Study) -> str:
    lines = ["--budget sets, where no option does:"]
    for budget, preset in study.presets.items():
        lines += [f"  {budget}:", *_settings(study, preset)]
        for amendment in study.amendments:
            if budget in amendment.presets:
                lines.append(f"  {budget} with {option_name(amendment.option)} {amendment.value}:")
                lines += _settings(study, amendment.presets[budget])
    lines.append("\narms: " + ", ".join(study.arm_names))
    return "\n".join(lines)


def _settings(study: Study, preset: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, value in preset.items():
        text = ("all" if value == study.arm_names else ",".join(value)) if isinstance(value, tuple) else value
        lines.append(f"    {option_name(name)} {text}")
    return lines


def _base_type(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [arg for arg in get_args(annotation) if arg is not type(None)]
        return _base_type(inner[0])
    return _base_type(get_args(annotation)[0]) if hasattr(annotation, "__metadata__") else annotation


def _metavar(annotation: Any) -> str:
    base = _base_type(annotation)
    return {int: "N", float: "X", Path: "DIR"}.get(base, "NAME")


def _reader(annotation: Any) -> Callable[[str], Any]:
    base = _base_type(annotation)

    def read(text: str) -> Any:
        if base is int:
            try:
                return int(text)
            except ValueError:
                raise argparse.ArgumentTypeError(f"must be a whole number, got {shown(text)}") from None
        if base is float:
            try:
                return float(text)
            except ValueError:
                raise argparse.ArgumentTypeError(f"must be a number, got {shown(text)}") from None
        return text

    return read


LOUDNESS: Mapping[str, tuple[type, str]] = {
    "quiet": (bool, "say nothing but warnings, errors, the result and where the page is"),
    "verbose": (bool, "also say every proposal, every epoch and every decision of early stopping"),
}
"""Options of the verbs that work on a run, which are no settings of it."""


def loudness_of(own: Mapping[str, Any]) -> Loudness:
    """How loud a verb is asked to be, by its own options. Raises StudyError."""
    if own.get("quiet") and own.get("verbose"):
        raise StudyError("--quiet and --verbose exclude each other")
    return "quiet" if own.get("quiet") else "verbose" if own.get("verbose") else "usual"


PRINT_SPEC = "print_spec"
DRY_RUN = "dry_run"
RUN = Verb(
    name="study.run",
    scopes=ALL_SCOPES,
    options={
        PRINT_SPEC: (bool, "print a spec file to begin with, for --spec: every setting, and what is searched"),
        DRY_RUN: (
            bool,
            "train nothing: try the extremes of every arm's space for a step or two, and print the memory, time and "
            "disk that the study will take; exit status 1 if one of them does not train",
        ),
        **LOUDNESS,
    },
    epilog=_presets,
)
