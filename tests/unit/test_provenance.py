"""Where a result comes from: the project's own commit, and a machine that may not say everything."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from study_process import run_here

from study.core.errors import StudyError
from study.core.ledger import SESSION, Book, Event, Ledger
from study.records import provenance
from study.records.provenance import (
    describe_machine,
    describe_versions,
    git_commit,
    require_same_source,
    source_fingerprint,
)

PROJECT = Path(__file__).resolve().parents[2]
NAMES = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")


def git(folder: Path, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | NAMES
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip()


def repository(folder: Path, *files: str) -> str:
    """A repository of these files. Returns its commit."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
    git(folder, "init", "-q")
    git(folder, "add", *files)
    git(folder, "commit", "-q", "-m", "first")
    return git(folder, "rev-parse", "HEAD")


def lies_at(monkeypatch, file: Path) -> None:
    """As if the package had been installed so that this file is its provenance.py."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    monkeypatch.setattr(provenance, "__file__", str(file))


OWN = "study/records/provenance.py"


def test_the_commit_is_that_of_the_checkout_and_changes_are_said(monkeypatch, tmp_path):
    commit = repository(tmp_path, OWN)
    lies_at(monkeypatch, tmp_path / OWN)
    assert git_commit() == commit
    (tmp_path / OWN).write_text("changed")
    assert git_commit() == f"{commit} + changes"


@pytest.mark.parametrize("place", [".venv/lib/site-packages", "vendor/site-packages", "."])
def test_a_repository_around_an_installed_package_is_not_the_project_s(monkeypatch, tmp_path, place):
    repository(tmp_path, "their.py")
    lies_at(monkeypatch, tmp_path / place / OWN)
    assert git_commit() is None


def test_neither_is_one_that_has_the_packages_among_its_own_files(monkeypatch, tmp_path):
    repository(tmp_path, f"vendor/{OWN}")
    lies_at(monkeypatch, tmp_path / "vendor" / OWN)
    assert git_commit() is None


def test_git_s_environment_names_no_other_repository(monkeypatch, tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    commit = repository(own, OWN)
    repository(other, "their.py", OWN)
    lies_at(monkeypatch, own / OWN)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(own))
    assert git_commit() == commit


def test_outside_of_a_checkout_there_is_no_commit(monkeypatch, tmp_path):
    lies_at(monkeypatch, tmp_path / OWN)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert git_commit() is None


@pytest.mark.parametrize("error", [AttributeError, ValueError, OSError])
def test_a_system_that_does_not_say_its_memory_is_described_without(monkeypatch, error):
    def sysconf(name: str) -> int:
        raise error(name)

    monkeypatch.setattr(os, "sysconf", sysconf, raising=False)
    assert describe_machine(cpus=2, gpus=0)["memory_gb"] is None


ONLY_ON_SOME = {"fcntl", "grp", "msvcrt", "pwd", "resource", "syslog", "termios", "tty", "pty", "winreg"}


def test_no_module_needs_what_only_some_systems_have_to_be_imported():
    """An import may stand in a function, or in a try with a way round."""
    for folder in ("study", "search_spaces", "trainables", "examples", "tests"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            for statement in ast.parse(path.read_text()).body:
                if isinstance(statement, ast.Import):
                    names = {alias.name.split(".")[0] for alias in statement.names}
                elif isinstance(statement, ast.ImportFrom):
                    names = {(statement.module or "").split(".")[0]}
                else:
                    continue
                assert not names & ONLY_ON_SOME, path


# --- the program's own source


def book_of(*versions: dict[str, str] | None) -> Book:
    book = Book()
    for found in versions:
        book.apply(Event(kind=SESSION, payload={"command": "it", **({} if found is None else {"versions": found})}))
    return book


def test_the_fingerprint_is_of_what_trains_and_decides(tmp_path):
    for name in ("trainables/a.py", "study/engine/b.py", "study/page/c.py", "trainables/notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")

    def found() -> str:
        source_fingerprint.cache_clear()
        return source_fingerprint(tmp_path)

    first = found()
    assert len(first) == 12
    (tmp_path / "study/page/c.py").write_text("x = 2\n")
    (tmp_path / "trainables/notes.md").write_text("other\n")
    assert found() == first
    (tmp_path / "study/engine/b.py").write_text("x = 2\n")
    second = found()
    assert second != first
    (tmp_path / "study/engine/b.py").rename(tmp_path / "study/engine/d.py")
    assert found() not in {first, second}
    assert describe_versions()["source"] == source_fingerprint(provenance._PROJECT)


@pytest.mark.faults
def test_a_run_of_other_source_goes_on_only_where_that_is_allowed(tmp_path, faults):
    now, other = {"source": source_fingerprint()}, {"source": "0123456789ab"}
    says = f"the program has changed since {tmp_path} was worked on (source {now['source']}, was 0123456789ab)"
    for changed in faults.each([book_of(other), book_of(now, other, None)]):
        with pytest.raises(StudyError, match=re.escape(says) + r".*study\.resume .* --allow-changed$"):
            require_same_source(tmp_path, changed, allow_changed=False)
        assert require_same_source(tmp_path, changed, allow_changed=True) == says
    for same in (book_of(now), book_of(None), book_of({"python": "3.11"}), book_of(other, now)):
        assert require_same_source(tmp_path, same, allow_changed=False) is None


def test_a_resume_says_so_before_anything_is_loaded(tmp_path):
    (tmp_path / "spec.json").write_text('{"task": "imbalance", "dataset": "no-such-data"}')
    with Ledger(tmp_path) as ledger:
        ledger.append(Event(kind=SESSION, payload={"versions": {"source": "0123456789ab"}}))
    status, _, stderr = run_here("study.resume", str(tmp_path))
    assert (status, stderr.count("\n")) == (2, 1)
    assert "the program has changed since" in stderr
    status, _, stderr = run_here("study.resume", str(tmp_path), "--allow-changed")
    assert status == 2
    assert "the program has changed" not in stderr
    assert "no-such-data" in stderr
    status, stdout, _ = run_here("study.resume", "--help")
    assert (status, stdout.splitlines()[0]) == (
        0,
        "usage: python -m study.resume [-h] [--allow-changed] [--quiet] [--verbose] RUN",
    )
