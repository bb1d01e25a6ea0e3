"""A run's trials and retests for MLflow and Weights & Biases, as --logger would have given them while it ran."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from study.analysis.tables import Tables
from study.core.errors import StudyError, last_line
from study.core.text import plural
from study.exports.installed import require_installed
from study.exports.logged import Log, Logger
from study.exports.mlflow import MlflowLogger
from study.exports.places import made_whole
from study.exports.trainings import trainings
from study.exports.wandb import WandbLogger


def write_mlflow(tables: Tables, path: Path) -> str:
    """Write an SQLite database for MLflow, and say how to open it. Raises StudyError if there is something there."""
    require_installed("--format", "mlflow")
    with made_whole(path) as part:
        _write(tables, path, lambda: MlflowLogger(tables.summary["name"], f"sqlite:///{part.resolve()}"))
    return f"{path}: {_counted(tables)}; open it with mlflow ui --backend-store-uri sqlite:///{path}"


def write_wandb(tables: Tables, path: Path) -> str:
    """Write a folder of offline runs, and say how to upload them. Raises StudyError if there is something there."""
    require_installed("--format", "wandb")
    with made_whole(path) as part:
        part.mkdir()
        _write(tables, path, lambda: WandbLogger(tables.summary["name"], part.resolve()))
    return f"{path}: {_counted(tables)}; upload it with wandb sync {path}/wandb/offline-run-*"


def _write(tables: Tables, path: Path, open_logger: Callable[[], Logger]) -> None:
    try:
        log = Log(open_logger())
        for training in trainings(tables):
            log.update(training)
        log.close()
    except OSError:
        raise
    except Exception as error:  # of a type of the logger's own
        raise StudyError(f"{path} cannot be written: {last_line(error)}") from None


def _counted(tables: Tables) -> str:
    return f"{plural(len(tables.trials), 'trial')}, {plural(len(tables.retests), 'retest')}"
