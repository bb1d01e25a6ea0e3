"""The decoded cache: hit, miss, damage, no place to write, several processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from dataset_files import (
    encoded,
    picture,
    write_image,
    write_image_folder,
    write_parquet,
    write_parquet_folder,
)

from trainables.data import decoded as cache
from trainables.data import folder as folder_source
from trainables.data import load_dataset, parquet
from trainables.data.types import ImageDataset


def load(folder: Path) -> ImageDataset:
    return load_dataset(str(folder), data_root=folder, download=False)


def kept(place: Path) -> list[Path]:
    return sorted(path.parent for path in place.glob("*/meta.json"))


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


def test_images_are_decoded_once(tmp_path: Path, num_decodings: list[int]) -> None:
    folder = write_parquet_folder(tmp_path / "pets", ["cat", "dog"])
    first, second = load(folder), load(folder)
    assert num_decodings == [8]
    assert len(kept(folder / ".decoded")) == 1
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
    tmp_path: Path, num_decodings: list[int], damage, name: str
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    good = load(folder)
    damage(kept(folder / ".decoded")[0] / name)
    again = load(folder)
    assert num_decodings == [8, 8]
    assert (again.train_images == good.train_images).all()
    assert again.fingerprint == good.fingerprint
    load(folder)
    assert num_decodings == [8, 8]


@pytest.mark.parametrize("meta", ["", "{}", "[]", '{"class_names": ["a", "b"], "fingerprint": "0"}'])
def test_a_damaged_meta_file_is_rewritten(tmp_path: Path, num_decodings: list[int], meta: str) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    load(folder)
    (kept(folder / ".decoded")[0] / "meta.json").write_text(meta)
    assert load(folder).class_names == ("0", "1")
    load(folder)
    assert num_decodings == [8, 8]


def test_a_folder_without_write_bits_is_left_alone_and_the_users_cache_taken(
    tmp_path: Path, user_cache: Path, num_decodings: list[int]
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    folder.chmod(0o555)
    try:
        load(folder)
        load(folder)
        assert not (folder / ".decoded").exists()
    finally:
        folder.chmod(0o755)
    assert num_decodings == [8]
    assert len(kept(user_cache / "ray-tune-study" / "decoded")) == 1


def test_with_no_place_to_write_images_are_decoded_at_each_load(
    tmp_path: Path, user_cache: Path, num_decodings: list[int]
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    (folder / ".decoded").write_text("in the way")
    user_cache.write_text("in the way")
    load(folder)
    assert load(folder).train_labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert num_decodings == [8, 8]


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, user_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_parquet_folder(tmp_path / "pets")

    def full(file, array, allow_pickle) -> None:  # type: ignore[no-untyped-def]
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.np, "save", full)
    load(folder)
    assert list((folder / ".decoded").iterdir()) == []
    assert list((user_cache / "ray-tune-study" / "decoded").iterdir()) == []


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path: Path) -> None:
    folder = write_parquet_folder(tmp_path / "pets")
    old, new = folder / ".decoded" / ".tmp-old", folder / ".decoded" / ".tmp-new"
    for directory in (old, new):
        directory.mkdir(parents=True)
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    load(folder)
    assert not old.exists()
    assert new.exists()


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
    [p.unlink(missing_ok=True) for p in Path(sys.argv[1]).glob(".decoded/*/meta.json")]
print(d.fingerprint)
"""


def test_processes_at_once_agree_and_leave_one_whole_copy(tmp_path: Path, user_cache: Path) -> None:
    """This one and another: to import what loads takes seconds, so the other says when it has."""
    user_cache.write_text("in the way")
    folder = write_parquet_folder(tmp_path / "pets")
    with subprocess.Popen(
        [sys.executable, "-c", LOAD_AGAIN_AND_AGAIN, str(folder)],
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
            for path in folder.glob(".decoded/*/meta.json"):
                path.unlink(missing_ok=True)
        theirs = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert {theirs} == {ours + "\n"} == {load(folder).fingerprint + "\n"}
    assert [path.name for path in (folder / ".decoded").iterdir()] == [kept(folder / ".decoded")[0].name]
