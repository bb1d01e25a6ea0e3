"""Plugins: files of users that register parts of their own in the project's tables, here and in every worker.

A plugin is one source file. It travels as its bytes, with the task, so that a worker on any node needs neither the file
nor shared storage. The plugins of a process are exactly those that use() named last: what others registered is gone.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib.metadata
import importlib.util
import platform
import re
import sys
import traceback
import types
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.common.paths import user_path

ENTRY_POINTS = "ray_tune_study.plugins"
"""The group of entry points by whose names installed packages offer plugins."""
OWN_METRIC = "metric/"
"""What the columns of plugins' metrics begin with, in retests.parquet."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
NAME_RULE = "must be small letters, digits and underscores, begin with a letter and have at most 60"


class PluginError(ValueError):
    """What is wrong with a plugin or with a part that it registers, in one sentence that names the plugin."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """given: as the user named it. file: the name of its copy in a run directory. package: that it imports from."""

    given: str
    file: str
    package: str = ""
    source: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source).hexdigest()


@dataclass(frozen=True, kw_only=True)
class OwnPart:
    """A part that a plugin registered: its kind, such as "loss", its name, and its entry in the kind's table."""

    kind: str
    name: str
    entry: Any = field(repr=False)
    plugin: Plugin = field(repr=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


_in_use: tuple[Plugin, ...] = ()
_parts: list[OwnPart] = []
_put: list[tuple[MutableMapping[Any, Any], Any]] = []
_loading: Plugin | None = None


def plugins_in_use() -> tuple[Plugin, ...]:
    return _in_use


def own_parts() -> tuple[OwnPart, ...]:
    """The parts that the plugins in use registered, in their order."""
    return tuple(_parts)


def read_plugin(given: str) -> Plugin:
    """The plugin in a file, of an installed package's entry point, or in a module, looked for in this order.

    Raises PluginError.
    """
    try:
        path = user_path(given)
    except ValueError as error:
        raise PluginError(str(error)) from None
    if path.suffix == ".py" or len(path.parts) > 1 or path.is_file():
        return Plugin(given=given, file=path.name, source=_read(path, given))
    return _installed(given)


def use(plugins: Sequence[Plugin]) -> None:
    """Make these, and no others, the plugins of this process. Raises PluginError, and then there are none."""
    global _in_use
    wanted = tuple(plugins)
    if wanted == _in_use:
        return
    _forget()
    try:
        for plugin in wanted:
            _load(plugin)
    except BaseException:
        _forget()
        raise
    _in_use = wanted


def register(kind: str, table: MutableMapping[str, Any], name: str, entry: Any) -> None:
    """Put a part of the plugin that is being loaded into its table. Raises PluginError for a name that may not be.

    Where no plugin is being loaded, such as in a test that imports the file, nothing is registered.
    """
    if _loading is None:
        return
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PluginError(f"the name of a {kind} {NAME_RULE}, got {name!r}")
    if name in table:
        others = [part for part in _parts if part.kind == kind and part.name == name]
        by = f"registered already by {others[0].plugin.given}" if others else "one of the project's own"
        raise PluginError(f"the {kind} {name!r} is {by}: choose another name")
    put(table, name, entry)
    _parts.append(OwnPart(kind=kind, name=name, entry=entry, plugin=_loading))


def put(table: MutableMapping[Any, Any], key: Any, entry: Any) -> None:
    """Put an entry into a table until the plugins change; register() does so, too, with a part."""
    if _loading is not None:
        table[key] = entry
        _put.append((table, key))


def _forget() -> None:
    global _in_use
    while _put:
        table, key = _put.pop()
        del table[key]
    _parts.clear()
    for plugin in _in_use:
        sys.modules.pop(_module_name(plugin), None)
    _in_use = ()


def _load(plugin: Plugin) -> None:
    global _loading
    module = types.ModuleType(_module_name(plugin))
    module.__file__, module.__package__ = plugin.given, plugin.package
    sys.modules[module.__name__] = module  # where dataclasses look for the names in annotations
    _loading = plugin
    try:
        exec(builtins.compile(plugin.source, plugin.given, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        sys.modules.pop(module.__name__, None)
        raise PluginError(_what_failed(plugin, error)) from error
    finally:
        _loading = None


def _module_name(plugin: Plugin) -> str:
    return f"own_parts_{plugin.file.removesuffix('.py')}"


def _what_failed(plugin: Plugin, error: BaseException) -> str:
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == plugin.given]
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == plugin.given else None
    line = line or (lines[-1] if lines else None)
    where = f"{plugin.given}{'' if line is None else f', line {line}'}"
    if isinstance(error, ModuleNotFoundError) and error.name and _is_missing(error.name.partition(".")[0]):
        package = error.name.partition(".")[0]
        return f"{where}: it needs the package {package!r}, which is not installed on {platform.node()}"
    if isinstance(error, PluginError):
        return f"{where}: {error}"
    said = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())[:500]
    return f"{where}: {type(error).__name__}{': ' * bool(said)}{said}"


def _is_missing(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is None
    except (ImportError, ValueError):
        return False


def _read(path: Path, given: str) -> bytes:
    try:
        if path.is_dir():
            raise PluginError(f"{given} is a folder, and a plugin is one file")
        source = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise PluginError(f"{given} cannot be read: {error.strerror}") from None
    if source is None:
        raise PluginError(f"there is no file {given}")
    try:
        source.decode()
    except UnicodeDecodeError as error:
        raise PluginError(f"{given} is not UTF-8: byte {error.start} is {source[error.start]:#04x}") from None
    return source


def _installed(given: str) -> Plugin:
    """The plugin of an entry point of that name, or else in the module."""
    offered = importlib.metadata.entry_points(group=ENTRY_POINTS)
    module = offered[given].module if given in offered.names else given
    missing = f"there is no file, entry point or module {given!r}"
    if not all(part.isidentifier() for part in module.split(".")):
        raise PluginError(missing)
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        raise PluginError(missing) from None
    except Exception as error:  # of the package above it, which this imports
        said = " ".join(str(error).split())[:500]
        raise PluginError(f"{given} cannot be imported: {type(error).__name__}: {said}") from None
    if found is None:
        raise PluginError(missing)
    if not found.has_location or found.origin is None or not found.origin.endswith(".py"):
        raise PluginError(f"{given} has no source file of Python, and a plugin is one")
    source = _read(Path(found.origin), given)
    return Plugin(given=given, file=f"{module.rpartition('.')[2]}.py", package=found.parent or "", source=source)
