"""The wheel, built, installed in an empty environment, and used from another folder as a user would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fake_run import write_run
from study_process import PROJECT

pytestmark = pytest.mark.timeout(600)

PACKAGES = ("study", "search_spaces", "trainables")


def run(*words: str | Path, cwd: Path) -> str:
    """What it prints, started without the project on any path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, source)
    run(sys.executable, "-c", "from setuptools.build_meta import build_wheel; build_wheel('dist')", cwd=source)
    [wheel] = (source / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment that has the wheel, and sees the packages of this one and not the project."""
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=environment)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    pip = (sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--no-deps", "--no-index", "-q")
    run(*pip, wheel, cwd=environment)
    installed = run(scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=environment)
    others = [path for path in sys.path if path.rstrip("/").endswith("site-packages")]  # their .pth files are not read
    Path(installed.strip(), "others.pth").write_text("\n".join(others))
    return scripts


def test_all_files_of_the_packages_but_caches_are_in_the_wheel(wheel: Path) -> None:
    there = {
        str(path.relative_to(PROJECT))
        for name in PACKAGES
        for path in (PROJECT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as files:
        assert there - set(files.namelist()) == set()
    assert {"study/page/templates/page.js", "study/page/templates/base.html.j2", "study/py.typed"} <= there


def test_a_study_with_a_plugin_is_understood_from_another_folder(scripts: Path, tmp_path: Path) -> None:
    assert run(scripts / "ray-study", cwd=tmp_path).startswith("usage: ray-study VERB")
    shutil.copy(PROJECT / "examples" / "my_parts.py", tmp_path)
    words = ("run", "imbalance", "--plugin", "my_parts.py", "--arms", "none,gce", "--dataset", "digits", "--print-spec")
    lines = run(scripts / "ray-study", *words, cwd=tmp_path).splitlines()
    assert lines[0] == "# ray-study run imbalance --spec FILE"
    assert 'arms = ["none", "gce"]' in lines
    assert '#gce_q = "0.1..1.0"' in lines


def test_a_page_is_made_with_the_templates_in_the_wheel(scripts: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "run", arms=["none"], num_trials=2, retest_seeds=(1,))
    where = run(scripts / "python", "-c", "import study.page; print(study.page.__path__[0])", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(scripts.parent)
    run(scripts / "ray-study", "report", "run", cwd=tmp_path)
    script = (PROJECT / "study/page/templates/page.js").read_text(encoding="utf-8")
    assert script in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
