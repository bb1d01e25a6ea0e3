"""Paths from users: a home that is not there, NUL characters, links that form a loop, folders that may not be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from study_process import assert_one_sentence, run_here

from study.cli import read_spec_file
from study.core.errors import StudyError
from study.core.spec import validated
from study.probes.inspection import chosen_image
from study.reproduction.spec import ReproductionSpec
from study.tasks.registry import STUDIES
from trainables.common.paths import real_name, user_path
from trainables.data import DataError, load_dataset

PATH_OPTIONS = {
    "imbalance": ("data_root", "cache_dir", "output_dir", "start_from_lr_range"),
    "jigsaw": ("pretext_checkpoint",),
    "reproduce": ("tuned",),
}
OF_A_RUN = {  # verbs, and what they take after a run directory
    "study.report": (),
    "study.resume": (),
    "study.inspect": ("none-0000",),
    "study.replay": ("none-0000",),
    "study.audit": (),
    "study.compare": ("nothing",),
    "study.export": ("--to", "nothing.db"),
}
BAD = {
    "~nouser/x": "must begin with a home folder that exists here, got '~nouser/x'",
    "a\0b": "must be a path without a NUL character, got 'a\\x00b'",
}


def spec_of(task: str) -> type:
    return ReproductionSpec if task == "reproduce" else STUDIES[task].spec


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize(("task", "name"), [(task, name) for task, names in PATH_OPTIONS.items() for name in names])
def test_a_path_that_cannot_be_one_is_refused_by_its_option(task: str, name: str, text: str) -> None:
    with pytest.raises(StudyError) as caught:
        validated(spec_of(task), {name: text})
    assert str(caught.value) == f"--{name.replace('_', '-')} {BAD[text]}"


@pytest.mark.parametrize("text", BAD)
def test_so_are_a_data_set_an_image_and_a_run(text: str) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(text, data_root=Path("data"), download=False)
    assert str(caught.value) == f"--dataset {BAD[text]}"
    with pytest.raises(StudyError) as refused:
        chosen_image(text, data=None)  # type: ignore[arg-type]
    assert str(refused.value) == f"--image {BAD[text]}"
    for verb in OF_A_RUN:
        status, said, complained = run_here(verb, text, *OF_A_RUN[verb])
        assert (status, said, complained) == (2, "", f"error: RUN {BAD[text]}\n")
    assert run_here("study.run", "imbalance", "--spec", text)[::2] == (2, f"error: --spec {BAD[text]}\n")


def test_every_option_that_is_a_path_is_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    for task, names in PATH_OPTIONS.items():
        for name in names:
            value = getattr(validated(spec_of(task), {name: "~/x"}), name)
            assert value == (Path("/home/ada/x") if name != "tuned" else (Path("/home/ada/x"),))
    assert user_path("data") == Path("data")


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("nothing").symlink_to("gone")
    return "loop"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("imbalance --output-dir loop", "--output-dir loop cannot be made: loop is not a folder"),
        ("imbalance --output-dir loop/in", "error: 'loop/in' is a link that leads back to itself"),
        ("imbalance --output-dir nothing", "--output-dir nothing cannot be made: nothing is not a folder"),
        ("imbalance --output-dir . --name nothing", "nothing exists already"),
        ("imbalance --data-root loop --dataset cifar10", "CIFAR-10 is not under the data root loop"),
        ("imbalance --data-root loop --dataset eurosat", "EuroSAT is not under the data root loop"),
        ("imbalance --dataset ./loop", "there is no folder loop, which --dataset names"),
        ("imbalance --spec loop", "--spec loop cannot be read: Too many levels of symbolic links"),
        (
            "imbalance --start-from-lr-range loop",
            "--start-from-lr-range loop is not a folder that study.lr_range wrote",
        ),
    ],
)
def test_a_link_that_forms_a_loop_or_leads_nowhere_is_one_sentence(loop: str, words: str, sentence: str) -> None:
    status, said, complained = run_here("study.run", *words.split())
    assert (status, said) == (2, "")
    assert sentence in complained
    assert_one_sentence(complained)
    assert sorted(os.listdir()) == ["loop", "nothing"]


@pytest.mark.parametrize("verb", OF_A_RUN)
def test_a_run_directory_that_is_a_loop_is_one_sentence(loop: str, verb: str) -> None:
    status, _, complained = run_here(verb, loop, *OF_A_RUN[verb])
    assert status == 2
    assert_one_sentence(complained)


def test_the_name_of_a_loop_is_that_of_the_link(loop: str) -> None:
    assert real_name(Path(loop)) == "loop"


def test_what_may_not_be_read_is_one_sentence_wherever_it_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is made here, because nothing is refused to a superuser who runs the tests."""
    real = os.stat

    def refusing(path: object, *args: object, **options: object) -> os.stat_result:
        if isinstance(path, str | Path) and "secret" in Path(path).parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "stat", refusing)
    for words, sentence in (
        ("study.run imbalance --dataset secret/in", "secret/in cannot be read (Permission denied)"),
        ("study.run imbalance --data-root secret", "secret/cifar10 cannot be read (Permission denied)"),
        ("study.resume secret/in", "'secret/in/spec.json' may not be read or written by this user"),
    ):
        verb, *arguments = words.split()
        assert run_here(verb, *arguments) == (2, "", f"error: {sentence}\n")
    assert os.listdir() == []


def test_a_spec_file_s_paths_are_checked_alike(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text('output_dir = "a\\u0000b"')
    with pytest.raises(StudyError, match=r"^--output-dir must be a path without a NUL character"):
        validated(STUDIES["imbalance"].spec, read_spec_file(path, STUDIES["imbalance"]))
