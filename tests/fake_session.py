"""A session without Ray whose work ends as a test wants it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from fake_tune import SPEC
from rich.console import Console
from study_cases import asked

from study.core.run_dir import new_run
from study.engine.cluster import Cluster
from study.engine.console import StudyConsole
from study.engine.session import Session


class Training(Session):
    """A session whose work meets a disk that takes no more. still: whether it takes the session's end."""

    error: BaseException
    still = True

    def introduce(self, slots: int) -> None: ...

    def facts(self) -> dict[str, Any]:
        return {}

    def work(self, slots: int) -> bool:
        self._ledger.append(asked("none-0000"))
        if not self.still:
            self._ledger._connection.execute("PRAGMA query_only=1")
        raise self.error

    def write(self, state: str) -> None: ...

    def write_page(self) -> Path:
        return self._run_dir / "report.html"

    def outcome(self) -> int:
        return 0


def conducted(
    folder: Path, error: BaseException, *, still: bool = True, lost: str | None = None
) -> tuple[int, str, Path]:
    """(exit status, what was said, run directory) of a session whose work ends so. lost: what of Ray is gone then."""
    said = io.StringIO()
    spec = SPEC.model_copy(update={"output_dir": folder})
    with new_run(spec, ("run",)) as (spec, ledger):
        session = Training(spec=spec, ledger=ledger, console=StudyConsole(Console(file=said, soft_wrap=True)))
        session.error, session.still = error, still
        cluster = Cluster(cpus=1, gpus=0)
        cluster.start, cluster.loss = (lambda say, *, cpus: None), (lambda: lost)  # type: ignore[method-assign]
        return session.conduct(cluster=cluster, slots=1, command="it"), said.getvalue(), spec.run_dir
