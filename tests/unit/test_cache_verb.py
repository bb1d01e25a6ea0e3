"""python -m study.cache, and --cache-dir: where decoded copies lie is said, chosen, and no part of what a study is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from study_process import run_here

from study.cli import parse_study
from study.core.commands import winner_settings
from study.core.spec import validated
from study.records.provenance import data_lines
from study.reproduction import runs, session
from study.reproduction.spec import ReproductionSpec
from study.tasks.registry import STUDIES
from study.tasks.resolve import resolved
from study.tasks.study import load_data
from trainables.data import ImageDataset, load_dataset

BASELINE = STUDIES["baseline"]


@pytest.fixture
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches" / "ray-tune-study" / "decoded"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes of noise: ten training images and two test images each."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    for number, image in enumerate(noise):
        path = tmp_path / "pets" / ("test" if number < 4 else "train") / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "pets"


def test_copies_are_listed_and_cleared(pets: Path, user_cache: Path) -> None:
    assert run_here("study.cache") == (0, f"{user_cache}: 0 decoded data sets\n", "")
    load_dataset(str(pets), data_root=pets, download=False)
    status, said, complained = run_here("study.cache")
    first, second = said.splitlines()
    assert (status, complained) == (0, "")
    assert first == f"{user_cache}: 1 decoded data set, 0.0 MB"
    assert second.startswith(f"  pets, images by class, of {pets}: 0.0 MB, made ")
    assert second.endswith(" s ago")
    shutil.rmtree(pets)
    assert run_here("study.cache")[1].endswith(" s ago (its data are not there any more)\n")
    assert run_here("study.cache", "--clear", "pet") == (
        2,
        "",
        f"error: {user_cache} holds no decoded copy of 'pet'; did you mean 'pets'?\n",
    )
    assert len(list(user_cache.glob("*/meta.json"))) == 1
    cleared = (0, f"removed from {user_cache}: 1 decoded data set, 0.0 MB\n", "")
    assert run_here("study.cache", "--clear", "pets") == cleared
    assert list(user_cache.glob("*/meta.json")) == []
    assert run_here("study.cache", "--clear") == (0, f"removed from {user_cache}: 0 decoded data sets\n", "")


def test_another_place_is_listed_and_cleared(pets: Path, user_cache: Path, tmp_path: Path) -> None:
    load_dataset(str(pets), data_root=pets, download=False)
    load_dataset(str(pets), data_root=pets, download=False, cache_dir=tmp_path / "mine")
    assert run_here("study.cache", "--cache-dir", str(tmp_path / "mine"), "--clear")[1] == (
        f"removed from {tmp_path / 'mine'}: 1 decoded data set, 0.0 MB\n"
    )
    assert len(list(user_cache.glob("*/meta.json"))) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--cache-dir", "~nouser"), "--cache-dir must begin with a home folder that exists here, got '~nouser'"),
        (("--claer",), "unknown option '--claer'; did you mean '--clear'?"),
        (("eurosat",), "unknown option 'eurosat'"),
        (("--cache-dir", "x" * 300), f"{'x' * 300} cannot be read or changed: File name too long"),
    ],
)
def test_what_is_wrong_is_one_sentence(user_cache: Path, words: tuple[str, ...], sentence: str) -> None:
    assert run_here("study.cache", *words) == (2, "", f"error: {sentence}\n")


def test_without_a_home_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.cache.user_cache", lambda: None)
    sentence = "there is no home folder, so that decoded copies are kept nowhere but in a --cache-dir"
    assert run_here("study.cache") == (2, "", f"error: {sentence}\n")


@pytest.mark.parametrize("verb", [("study.run", "jigsaw"), ("study.lr_range", "jigsaw"), ("study.reproduce",)])
def test_help_says_where_copies_lie_and_how_to_clear_them(verb: tuple[str, ...], monkeypatch) -> None:
    """In one piece, whatever the width, so that it can be copied."""
    monkeypatch.setenv("COLUMNS", "60")
    status, said, _ = run_here(*verb, "--help")
    assert not status
    (default,) = [word for word in said.split() if "/ray-tune-study/decoded" in word]
    assert Path(default.strip(";")).is_absolute()
    assert "python -m study.cache --clear" in " ".join(said.split())
    assert "--cache-dir DIR" in said


def test_cache_dir_reaches_the_data_and_what_became_of_the_copy_is_said(
    pets: Path, user_cache: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    words = ["baseline", "--dataset", str(pets), "--cache-dir", str(mine), "--output-dir", str(tmp_path / "runs")]
    study, values = parse_study(words)
    dataset, _, _ = load_data(study, resolved(study, values, dataset="pets", num_gpus=0))
    assert data_lines(dataset) == [
        f"data: pets, read from {pets} (images by class)",
        f"note: A decoded copy of pets (0.0 MB) is kept in {mine}; python -m study.cache lists and clears copies.",
    ]
    assert not user_cache.exists()
    dataset, _, _ = load_data(study, resolved(study, {**values, "image_size": 16}, dataset="pets", num_gpus=0))
    assert dataset.notices[0].startswith("A decoded copy of pets")
    dataset, _, _ = load_data(study, resolved(study, {**values, "drop_duplicates": True}, dataset="pets", num_gpus=0))
    assert dataset.notices == ()


def test_the_data_are_the_same_wherever_the_copy_lies(pets: Path, user_cache: Path, tmp_path: Path) -> None:
    """A resumed run is refused where its data differ, and by nothing else about them."""
    fingerprints = set()
    for cache_dir in (None, tmp_path / "mine", pets / "train" / "cat" / "4.png"):
        values = {"dataset": str(pets), **({"cache_dir": cache_dir} if cache_dir else {})}
        _, data, _ = load_data(BASELINE, resolved(BASELINE, values, dataset="pets", num_gpus=0))
        fingerprints.add(data.fingerprint)
    assert len(fingerprints) == 1


def test_cache_dir_is_kept_in_the_settings_and_not_repeated_for_a_winner(tmp_path: Path) -> None:
    spec = resolved(BASELINE, {"cache_dir": "~/fast"}, dataset="digits", num_gpus=0)
    written = json.loads(spec.model_dump_json())
    assert written["cache_dir"] == str(Path("~/fast").expanduser())
    assert validated(BASELINE.spec, written).cache_dir == spec.cache_dir
    assert "cache_dir" not in winner_settings(spec, {"arms": ["none"], "start": {}})
    before = {name: value for name, value in written.items() if name != "cache_dir"}
    assert validated(BASELINE.spec, before).cache_dir is None  # a run made before there was the option


def test_a_reproduction_passes_it_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def seen(name: str, **options: Any) -> ImageDataset:
        asked.append(options["cache_dir"])
        return load_dataset(name, **options)

    monkeypatch.setattr(runs, "load_dataset", seen)
    values = {"recipes": ("s2_taskA_sgd",), "dataset": "digits", "cache_dir": tmp_path}
    session._runs_and_data(validated(ReproductionSpec, values))
    assert asked == [tmp_path]
