"""Checkpoints: the newest two are kept, damage is passed over, nothing is unpickled, nothing is half written."""

import hashlib
import os
import pickle

import pytest
import torch

from trainables.training.checkpoints import read_newest_checkpoint, write_checkpoint


def state_of(epoch):
    return {"epoch": epoch, "weight": torch.arange(3.0) + epoch}


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of the epochs 1 and 2."""
    for epoch in (1, 2):
        write_checkpoint(tmp_path, state_of(epoch), epoch=epoch)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_written_is_read_back(tmp_path):
    folder = tmp_path / "new" / "folder"
    name, sha256 = write_checkpoint(folder, state_of(7), epoch=7)
    state = read_newest_checkpoint(folder)
    assert name == "epoch-0007.pt"
    assert sha256 == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert state["epoch"] == 7
    assert state["weight"].tolist() == [7.0, 8.0, 9.0]


def test_there_is_none_in_an_empty_or_missing_folder(tmp_path):
    assert read_newest_checkpoint(tmp_path) is None
    assert read_newest_checkpoint(tmp_path / "missing") is None


def test_the_newest_two_are_kept_with_their_checksums(folder):
    write_checkpoint(folder, state_of(3), epoch=3)
    assert names(folder) == ["epoch-0002.pt", "epoch-0002.sha256", "epoch-0003.pt", "epoch-0003.sha256"]
    assert read_newest_checkpoint(folder)["epoch"] == 3


def test_newest_means_the_highest_epoch_also_beyond_four_digits(tmp_path):
    for epoch in (9998, 9999, 10000, 10001):
        write_checkpoint(tmp_path, state_of(epoch), epoch=epoch)
    assert read_newest_checkpoint(tmp_path)["epoch"] == 10001
    assert names(tmp_path) == ["epoch-10000.pt", "epoch-10000.sha256", "epoch-10001.pt", "epoch-10001.sha256"]


def flip_a_byte(folder):
    path = folder / "epoch-0002.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_in_half(folder):
    path = folder / "epoch-0002.pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_the_file(folder):
    (folder / "epoch-0002.pt").write_bytes(b"")


def remove_the_checksum(folder):
    (folder / "epoch-0002.sha256").unlink()


def cut_the_checksum(folder):
    path = folder / "epoch-0002.sha256"
    path.write_text(path.read_text()[:10])


def garble_the_checksum(folder):
    (folder / "epoch-0002.sha256").write_bytes(b"\xff\xfe\x00")


def remove_the_file(folder):
    (folder / "epoch-0002.pt").unlink()


DAMAGES = [
    flip_a_byte,
    cut_in_half,
    empty_the_file,
    remove_the_checksum,
    cut_the_checksum,
    garble_the_checksum,
    remove_the_file,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(folder, damage):
    damage(folder)
    assert read_newest_checkpoint(folder)["epoch"] == 1


def test_there_is_none_if_all_are_damaged(folder):
    for epoch in (1, 2):
        (folder / f"epoch-000{epoch}.pt").write_bytes(b"not a checkpoint")
    assert read_newest_checkpoint(folder) is None


class Payload:
    """Unpickled, it would make the folder that it names."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("writer", ["torch.save", "pickle.dump"])
def test_a_pickle_payload_is_not_run_even_with_a_right_checksum(folder, tmp_path, writer):
    made = tmp_path / "made by the payload"
    path = folder / "epoch-0003.pt"
    with open(path, "wb") as file:
        if writer == "torch.save":
            torch.save({"epoch": 3, "payload": Payload(made)}, file)
        else:
            pickle.dump({"epoch": 3, "payload": Payload(made)}, file)
    path.with_suffix(".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    assert read_newest_checkpoint(folder)["epoch"] == 2
    assert not made.exists()


def test_the_file_that_a_killed_writer_left_is_not_read(folder):
    whole = (folder / "epoch-0002.pt").read_bytes()
    (folder / ".epoch-0003.pt.4711.tmp").write_bytes(whole[:100])
    assert read_newest_checkpoint(folder)["epoch"] == 2


@pytest.mark.parametrize("num_renames", [0, 1])
def test_a_write_that_fails_leaves_the_older_checkpoints_whole(folder, monkeypatch, num_renames):
    """The disk is full before the file (0) or before its checksum (1) got its name."""
    done = []

    def replace(source, target, rename=os.replace):
        if len(done) == num_renames:
            raise OSError(28, "No space left on device")
        done.append(target)
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(folder, state_of(3), epoch=3)
    monkeypatch.undo()
    assert read_newest_checkpoint(folder)["epoch"] == 2
    write_checkpoint(folder, state_of(3), epoch=3)  # and the next attempt succeeds
    assert read_newest_checkpoint(folder)["epoch"] == 3
