"""The decoded cache: hit, miss, damage; where it lies, or cannot; what is stale; several processes; clearing."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from dataset_files import (
    encoded,
    picture,
    write_cifar100_parquet,
    write_image,
    write_image_folder,
    write_parquet,
    write_parquet_folder,
)

from trainables.data import cache, load_dataset, parquet
from trainables.data import folder as folder_source
from trainables.data.types import ImageDataset


def load(folder: Path, cache_dir: Path | None = None) -> ImageDataset:
    return load_dataset(str(folder), data_root=folder, download=False, cache_dir=cache_dir)


def kept(place: Path) -> list[Path]:
    return sorted(path.parent for path in place.glob("*/meta.json"))


def said(dataset: ImageDataset) -> list[str]:
    """What is said about the copy besides where a new one is kept."""
    return [notice for notice in dataset.notices if " is kept in " not in notice]


@pytest.fixture
def num_decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time images were decoded."""
    calls: list[int] = []
    real = parquet.decode_images

    def counted(images, **options):  # type: ignore[no-untyped-def]
        calls.append(len(images))
        return real(images, **options)

    monkeypatch.setattr(parquet, "decode_images", counted)
    monkeypatch.setattr(folder_source, "decode_images", counted)
    return calls


def test_images_are_decoded_once(tmp_path: Path, place: Path, num_decodings: list[int]) -> None:
    folder = write_parquet_folder(tmp_path / "pets", ["cat", "dog"])
    first, second = load(folder), load(folder)
    assert num_decodings == [8]
    assert len(kept(place)) == 1
    assert (first.train_images == second.train_images).all()
    assert (first.test_labels == second.test_labels).all()
    assert first.class_names == second.class_names == ("cat", "dog")
    assert first.fingerprint == second.fingerprint


def test_changed_contents_are_decoded_again_whatever_their_date(tmp_path: Path, num_decodings: list[int]) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    path = folder / "train-00000-of-00001.parquet"
    before, stat = load(folder), path.stat()
    write_parquet(path, [0, 1, 0, 1, 0, 1])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = load(folder)
    assert num_decodings == [8, 8]
    assert after.train_labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert after.fingerprint != before.fingerprint


def test_a_changed_image_in_a_folder_is_decoded_again(tmp_path: Path, num_decodings: list[int]) -> None:
    folder = write_image_folder(tmp_path / "pets")
    load(folder)
    load(folder)
    assert num_decodings == [8]
    write_image(folder / "train" / "cat" / "0.png", picture(99))
    assert load(folder).train_images[0, 0, 0, 0] == 99


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_last_bit(path: Path) -> None:
    contents = bytearray(path.read_bytes())
    contents[-1] ^= 1
    path.write_bytes(contents)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def swap_shape(path: Path) -> None:
    array = np.load(path)
    np.save(path, array.reshape(-1, *array.shape[2:]))


@pytest.mark.parametrize("damage", [truncate, flip_last_bit, empty, Path.unlink, swap_shape])
@pytest.mark.parametrize("name", ["train_images.npy", "test_images.npy"])
def test_a_damaged_array_is_decoded_again_and_rewritten(
    tmp_path: Path, place: Path, num_decodings: list[int], damage, name: str
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    good = load(folder)
    damage(kept(place)[0] / name)
    again = load(folder)
    assert num_decodings == [8, 8]
    assert said(again) == [f"The decoded copy of pets in {place} was damaged, and was replaced."]
    assert (again.train_images == good.train_images).all()
    assert again.fingerprint == good.fingerprint
    load(folder)
    assert num_decodings == [8, 8]


@pytest.mark.parametrize("meta", ["", "{}", "[]", '{"class_names": ["a", "b"], "fingerprint": "0"}'])
def test_a_damaged_meta_file_is_rewritten(tmp_path: Path, place: Path, num_decodings: list[int], meta: str) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    load(folder)
    (kept(place)[0] / "meta.json").write_text(meta)
    assert load(folder).class_names == ("0", "1")
    load(folder)
    assert num_decodings == [8, 8]


# Where copies lie


def test_nothing_is_written_beside_the_data(tmp_path: Path, place: Path) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    before = sorted(folder.iterdir())
    dataset = load(folder)
    assert sorted(folder.iterdir()) == before
    assert dataset.notices == (
        f"A decoded copy of pets (0.0 MB) is kept in {place}; python -m study.cache lists and clears copies.",
    )
    assert load(folder).notices == ()


def test_a_decoded_folder_beside_the_data_is_used_where_there_is_one(
    tmp_path: Path, place: Path, num_decodings: list[int]
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    (folder / ".decoded").mkdir()
    load(folder)
    load(folder)
    assert num_decodings == [8]
    assert len(kept(folder / ".decoded")) == 1
    assert not place.exists()


def test_a_copy_in_the_users_cache_is_not_made_again_beside_the_data(
    tmp_path: Path, place: Path, num_decodings: list[int]
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    load(folder)
    (folder / ".decoded").mkdir()
    load(folder)
    assert num_decodings == [8]
    assert len(kept(place)) == 1
    assert kept(folder / ".decoded") == []


def test_cache_dir_is_the_only_place(tmp_path: Path, place: Path, num_decodings: list[int]) -> None:
    folder, chosen = write_parquet_folder(tmp_path / "pets"), tmp_path / "on" / "a" / "disk"
    (folder / ".decoded").mkdir()
    for _ in range(2):
        load(folder, cache_dir=chosen)
    assert num_decodings == [8]
    assert len(kept(chosen)) == 1
    assert kept(folder / ".decoded") == []
    assert not place.exists()


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "eurosat"])
@pytest.mark.usefixtures("parts_of_known_data_sets")
def test_so_it_is_of_a_data_set_known_by_name(tmp_path: Path, place: Path, name: str) -> None:
    chosen = tmp_path / "chosen"
    write = write_cifar100_parquet if name == "cifar100" else write_parquet_folder
    write(tmp_path / name)
    load_dataset(name, data_root=tmp_path, download=False, cache_dir=chosen)
    assert len(kept(chosen)) == 1
    assert not place.exists()


@pytest.mark.usefixtures("parts_of_known_data_sets")
def test_so_it_is_of_folders_of_images(tmp_path: Path, place: Path) -> None:
    for class_name in ("Forest", "River"):
        for number in range(5):
            write_image(tmp_path / "eurosat" / "2750" / class_name / f"{number}.jpg", picture(number, 64))
    load_dataset("eurosat", data_root=tmp_path, download=False, cache_dir=tmp_path / "chosen")
    load(write_image_folder(tmp_path / "pets"), cache_dir=tmp_path / "chosen")
    assert len(kept(tmp_path / "chosen")) == 2
    assert not place.exists()


def test_the_same_files_elsewhere_share_a_copy(tmp_path: Path, place: Path, num_decodings: list[int]) -> None:
    first = write_parquet_folder(tmp_path / "pets")
    shutil.copytree(first, tmp_path / "elsewhere")
    load(first)
    load(tmp_path / "elsewhere")
    assert num_decodings == [8]
    assert len(kept(place)) == 1


# No place to write


def test_a_folder_beside_the_data_without_write_bits_is_left_alone_and_the_users_cache_taken(
    tmp_path: Path, place: Path, num_decodings: list[int]
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    (folder / ".decoded").mkdir()
    (folder / ".decoded").chmod(0o555)
    try:
        load(folder)
        load(folder)
        assert list((folder / ".decoded").iterdir()) == []
    finally:
        (folder / ".decoded").chmod(0o755)
    assert num_decodings == [8]
    assert len(kept(place)) == 1


def test_with_no_place_to_write_images_are_decoded_at_each_load_and_it_is_said_once(
    tmp_path: Path, user_cache: Path, place: Path, num_decodings: list[int]
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    (folder / ".decoded").mkdir()
    (folder / ".decoded").chmod(0o555)
    user_cache.write_text("in the way")
    try:
        load(folder)
        dataset = load(folder)
    finally:
        (folder / ".decoded").chmod(0o755)
    assert dataset.train_labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert num_decodings == [8, 8]
    assert dataset.notices == (
        f"No decoded copy of pets can be kept ({folder}/.decoded: it is read-only; {place}: Not a directory), so that "
        "its images are decoded at every start; --cache-dir names another place.",
    )


@pytest.mark.parametrize(("name", "reason"), [("file", "it is a file"), ("x" * 300, "File name too long")])
def test_a_cache_dir_that_cannot_be_one_is_never_fatal(
    tmp_path: Path, place: Path, num_decodings: list[int], name: str, reason: str
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    (tmp_path / "file").write_text("in the way")
    (notice,) = load(folder, cache_dir=tmp_path / name).notices
    assert notice.startswith(f"No decoded copy of pets can be kept ({tmp_path / name}: {reason})")
    assert not place.exists()


def test_without_a_home_there_is_no_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cache.platformdirs, "user_cache_path", lambda *names, **options: Path("~/.cache"))
    (notice,) = load(write_parquet_folder(tmp_path / "pets")).notices
    assert notice.startswith("No decoded copy of pets can be kept (there is no cache folder of the user), so that")
    assert not (tmp_path / "~").exists()


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    (folder / ".decoded").mkdir()

    def full(file, array, allow_pickle) -> None:  # type: ignore[no-untyped-def]
        file.write(b"half")
        # The first as the system raises it, the second as NumPy does.
        raise (
            OSError(28, "No space left on device")
            if ".decoded" in file.name
            else OSError("1000 requested and 4 written")
        )

    monkeypatch.setattr(cache.np, "save", full)
    (notice,) = load(folder).notices
    assert f"({folder}/.decoded: No space left on device; {place}: the disk is full)" in notice
    for tried in (folder / ".decoded", place):
        assert [path.name for path in tried.iterdir()] == [".ray-tune-study.lock"]


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(file, array, allow_pickle) -> None:  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt

    monkeypatch.setattr(cache.np, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(write_parquet_folder(tmp_path / "pets"))
    assert [path.name for path in place.iterdir()] == [".ray-tune-study.lock"]


# What is stale


def test_a_copy_of_files_that_have_changed_is_replaced_and_it_is_said(tmp_path: Path, place: Path) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    other = write_image_folder(tmp_path / "zoo")
    load(folder)
    load(other)
    load_dataset(str(folder), data_root=folder, download=False, image_size=16)
    assert len(kept(place)) == 3
    write_parquet(folder / "train-00000-of-00001.parquet", [0, 1, 0, 1, 0, 1])
    assert said(load(folder)) == [
        f"The decoded copy of pets in {place} was of other files than lie in {folder} now, and was replaced."
    ]
    assert len(kept(place)) == 3
    write_image(other / "train" / "cat" / "0.png", picture(99))
    assert said(load(other)) == [
        f"The decoded copy of zoo in {place} was of other files than lie in {other} now, and was replaced."
    ]
    assert len(kept(place)) == 3


def test_a_copy_beside_the_data_that_is_replaced_by_one_in_the_users_cache_is_removed(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    load(folder)
    (folder / ".decoded").mkdir()
    write_parquet(folder / "train-00000-of-00001.parquet", [0, 1, 0, 1, 0, 1])
    load(folder)
    assert len(kept(folder / ".decoded")) == 1
    assert kept(place) == []


def test_copies_of_an_earlier_version_are_removed_and_those_of_a_later_one_kept(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    load(folder)
    before_there_was_a_version = place / ("0" * 32)
    before_there_was_a_version.mkdir()
    (before_there_was_a_version / "meta.json").write_text(json.dumps({"fingerprint": "", "class_names": []}))
    monkeypatch.setattr(cache, "CACHE_VERSION", cache.CACHE_VERSION + 1)
    (sentence,) = said(load(folder))
    assert sentence.startswith("2 decoded copies of an earlier version, or damaged (0.0 MB), were removed from ")
    (newest,) = kept(place)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.parents[1]))
    assert said(load(folder)) == []
    assert len(kept(place)) == 2
    assert newest in kept(place)


def test_nothing_foreign_is_removed_from_a_cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = tmp_path / "chosen"
    for name in (".tmp-mine", "pictures", "0" * 31):
        (chosen / name).mkdir(parents=True)
        os.utime(chosen / name, (0, 0))
    (chosen / ("f" * 32)).write_text("a file")
    foreign = set(chosen.iterdir())
    monkeypatch.setattr(cache, "CACHE_VERSION", cache.CACHE_VERSION + 1)
    load(write_parquet_folder(tmp_path / "pets"), cache_dir=chosen)
    assert len(cache.clear(chosen)) == 1
    assert {path for path in chosen.iterdir() if path.name != ".ray-tune-study.lock"} == foreign


def test_what_a_killed_process_left_is_removed_at_the_next_write(tmp_path: Path, place: Path) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    (place / ".ray-tune-study-killed").mkdir(parents=True)
    load(folder)
    assert [path.name for path in place.glob(".ray-tune-study-*")] == []


def test_without_locks_it_is_removed_after_a_day(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on network file systems without a lock daemon: there, a temporary may be of a process that is writing."""

    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    old, new = place / ".ray-tune-study-old", place / ".ray-tune-study-new"
    for directory in (old, new):
        directory.mkdir(parents=True)
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    load(write_parquet_folder(tmp_path / "pets"))
    assert not old.exists()
    assert new.exists()
    assert len(kept(place)) == 1


def test_a_cache_that_another_process_keeps_locked_is_done_without(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LOCK_SECONDS", 0.0)
    place.mkdir(parents=True)
    with cache.filelock.FileLock(place / ".ray-tune-study.lock"):
        (notice,) = load(write_parquet_folder(tmp_path / "pets")).notices
    assert f"({place}: another process is writing to it)" in notice


def test_a_copy_that_another_process_wrote_meanwhile_is_not_written_again(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    load(folder)
    (path,) = kept(place)
    shutil.move(path, tmp_path / "theirs")
    real = parquet.decode_images

    def meanwhile(images, **options):  # type: ignore[no-untyped-def]
        shutil.move(tmp_path / "theirs", path)
        return real(images, **options)

    monkeypatch.setattr(parquet, "decode_images", meanwhile)
    before = (path if path.exists() else tmp_path / "theirs").joinpath("meta.json").stat().st_ino
    assert load(folder).notices == ()
    assert (path / "meta.json").stat().st_ino == before


# Listing and clearing


def test_copies_are_listed_with_their_data_and_cleared_by_name(tmp_path: Path, place: Path) -> None:
    assert cache.copies_in(place) == []
    assert cache.clear(place) == []
    pets, zoo = write_parquet_folder(tmp_path / "pets"), write_image_folder(tmp_path / "zoo")
    load(pets)
    load(zoo)
    load_dataset(str(zoo), data_root=zoo, download=False, image_size=16)
    found = cache.copies_in(place)
    assert [(copy.name, copy.folder, copy.kind, copy.state) for copy in found] == [
        ("pets", str(pets), "Parquet", ""),
        ("zoo", str(zoo), "images by class", ""),
        ("zoo", str(zoo), "images by class, at most 16 pixels", ""),
    ]
    # 8 images of 32 x 32 x 3 and of 16 x 16 x 3 bytes, labels of 64 bytes, headers and meta.json.
    assert 24_640 < found[1].num_bytes < 27_000
    assert 6_208 < found[2].num_bytes < 8_500
    assert 0 <= found[0].age_seconds < 60
    shutil.rmtree(pets)
    assert cache.copies_in(place)[0].state == "its data are not there any more"
    assert [copy.name for copy in cache.clear(place, "zoo")] == ["zoo", "zoo"]
    assert [copy.name for copy in cache.copies_in(place)] == ["pets"]
    (place / ".ray-tune-study-killed").mkdir()
    assert len(cache.clear(place)) == 1
    assert [path.name for path in place.iterdir()] == [".ray-tune-study.lock"]


def test_a_damaged_copy_is_listed_and_cleared_with_all(tmp_path: Path, place: Path) -> None:
    load(write_parquet_folder(tmp_path / "pets"))
    (kept(place)[0] / "meta.json").write_text("{}")
    (copy,) = cache.copies_in(place)
    assert (copy.name, copy.state) == ("", "damaged, or of an earlier version")
    assert cache.clear(place, "pets") == []
    assert [cleared.path for cleared in cache.clear(place)] == [copy.path]


# Fingerprints, and several processes


def test_the_fingerprint_is_of_arrays_and_names_and_not_of_the_files(tmp_path: Path) -> None:
    png = write_parquet_folder(tmp_path / "one", ["cat", "dog"])
    same = write_parquet_folder(tmp_path / "two", ["cat", "dog"])
    blobs = [encoded(picture(10 * label + row), "BMP") for row, label in enumerate([0, 1, 0, 1, 1, 0])]
    path = same / "train-00000-of-00001.parquet"
    write_parquet(path, [0, 1, 0, 1, 1, 0], blobs=blobs, class_names=["cat", "dog"])
    renamed = write_parquet_folder(tmp_path / "three", ["cat", "fox"])
    assert load(png).fingerprint == load(same).fingerprint
    assert load(png).fingerprint != load(renamed).fingerprint


LOAD_AGAIN_AND_AGAIN = """
from pathlib import Path; import sys; from trainables.data import load_dataset
print("ready", flush=True); sys.stdin.readline()
for _ in range(20):
    d = load_dataset(sys.argv[1], data_root=Path("."), download=False)
    [p.unlink(missing_ok=True) for p in Path(sys.argv[2]).glob("*/meta.json")]
print(d.fingerprint)
"""


def test_processes_at_once_agree_and_leave_one_whole_copy(tmp_path: Path, place: Path) -> None:
    """This one and another: to import what loads takes seconds, so the other says when it has."""
    folder = write_parquet_folder(tmp_path / "pets")
    with subprocess.Popen(
        [sys.executable, "-c", LOAD_AGAIN_AND_AGAIN, str(folder), str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(cache.__file__).parents[2])},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        for _ in range(20):
            ours = load(folder).fingerprint
            for path in place.glob("*/meta.json"):
                path.unlink(missing_ok=True)
        theirs = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert {theirs} == {ours + "\n"} == {load(folder).fingerprint + "\n"}
    assert sorted(path.name for path in place.iterdir()) == [".ray-tune-study.lock", kept(place)[0].name]


class Executed:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("writer", ["numpy.save", "pickle.dump"])
def test_a_copy_that_holds_a_pickle_is_decoded_anew_and_never_executed(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_parquet_folder(tmp_path / "pets", ["cat", "dog"])
    fingerprint = load(folder).fingerprint
    [copy] = kept(place)
    with open(copy / "train_images.npy", "wb") as file:
        if writer == "numpy.save":
            np.save(file, np.array([Executed()], dtype=object), allow_pickle=True)
        else:
            pickle.dump(Executed(), file)
    assert load(folder).fingerprint == fingerprint
    assert not (tmp_path / "executed").exists()
