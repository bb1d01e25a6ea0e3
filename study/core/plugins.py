"""Users' own parts in a study: read, checked, copied into the run directory, and found again there.

A run trains with what it began with: resume, replay, inspection and load_model() take the copy in the run directory,
whose hash is in spec.json. A resume also looks at the original, because who changed it expects the change to matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from study.core.errors import StudyError
from trainables.common.files import write_durably
from trainables.common.plugins import Plugin, PluginError, own_parts, plugins_in_use, read_plugin, use
from trainables.data.types import TuningData

FOLDER = "plugins"


class PluginSource(BaseModel):
    """What spec.json records of a plugin: as it was given, its copy's name, its package, the hash of its source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    given: str
    file: str
    package: str = ""
    sha256: str


def use_given(given: Sequence[str]) -> None:
    """Read, register and check these plugins, and no others; models are checked by require_sound_models.

    Raises StudyError, in one sentence.
    """
    try:
        plugins = [read_plugin(one) for one in given]
        for position, plugin in enumerate(plugins):
            if any(plugin.file == other.file for other in plugins[:position]):
                raise PluginError(f"names {plugin.file} twice: give each plugin once, with a file name of its own")
        if tuple(plugins) == plugins_in_use():
            return
        use(plugins)
        if plugins:
            from trainables.own import check_own_parts  # the tables: a study without plugins has no need of it

            check_own_parts()
    except PluginError as error:
        use(())
        raise StudyError(f"--plugin {error}") from None


def require_sound_models(data: TuningData) -> None:
    """Check the plugins' models on images like these. Raises StudyError, in one sentence."""
    if any(part.kind == "model" for part in own_parts()):
        from trainables.own import check_own_models

        try:
            check_own_models(data)
        except PluginError as error:
            raise StudyError(f"--plugin {error}") from None


def sources() -> tuple[PluginSource, ...]:
    """The record of the plugins in use."""
    return tuple(
        PluginSource(given=plugin.given, file=plugin.file, package=plugin.package, sha256=plugin.sha256)
        for plugin in plugins_in_use()
    )


def keep_sources(run_dir: Path) -> None:
    """Copy the plugins in use into the run directory."""
    for plugin in plugins_in_use():
        (run_dir / FOLDER).mkdir(exist_ok=True)
        write_durably(run_dir / FOLDER / plugin.file, plugin.source)


def use_kept(run_dir: Path, recorded: Sequence[PluginSource]) -> None:
    """Register the plugins that a run began with: its copies or, where one is gone, an original that is the same.

    Raises StudyError if a copy or the only original is another file than the one that the run began with.
    """
    try:
        use([_kept(run_dir, source) for source in recorded])
    except PluginError as error:
        raise StudyError(f"--plugin {error}") from None


def require_unchanged(run_dir: Path, recorded: Sequence[PluginSource]) -> Iterator[str]:
    """Yields a note for each original that is gone. Raises StudyError if one is not what the run began with."""
    for source in recorded:
        try:
            original = read_plugin(source.given)
        except PluginError as error:
            yield f"plugin: {error}; the run goes on with its copy, {run_dir / FOLDER / source.file}"
            continue
        if original.sha256 != source.sha256:
            raise StudyError(
                f"--plugin {source.given} was changed since the run began (SHA-256 {original.sha256}, was "
                f"{source.sha256}): put it back, as {run_dir / FOLDER / source.file} has it, or begin a new run"
            )


def own_part_names() -> list[dict[str, Any]]:
    """The plugins in use and what they registered, for summary.json."""
    return [
        {**source.model_dump(), "parts": [str(part) for part in own_parts() if part.plugin.file == source.file]}
        for source in sources()
    ]


def _kept(run_dir: Path, source: PluginSource) -> Plugin:
    copy = run_dir / FOLDER / Path(source.file).name
    given = str(copy) if copy.is_file() else source.given
    try:
        found = read_plugin(given)
    except PluginError as error:
        raise PluginError(f"{source.file}: the run's copy {copy} is gone, and {error}") from None
    if found.sha256 != source.sha256:
        raise PluginError(
            f"{given} is not what the run began with (SHA-256 {found.sha256}, was {source.sha256}): it cannot be used"
        )
    return Plugin(given=source.given, file=source.file, package=source.package, source=found.source)
