"""Places: what a local folder does, any file system that pyarrow knows does too; checkpoints lie in each alike."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from s3_server import S3Server, s3_server

from trainables.common import places
from trainables.common.files import StorageError
from trainables.common.places import LocalPlace, Place, RemotePlace, place_at, require_uri
from trainables.training.checkpoints import (
    CheckpointWriter,
    forget_epochs_after,
    newest_epoch,
    read_newest_checkpoint,
    write_checkpoint,
    written_checkpoint,
)

KINDS = ["path", "file://", "pyarrow in memory", "pyarrow on a disk", "s3://"]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as s3:
        yield s3


@pytest.fixture
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder that does not exist yet, in a place of the kind asked for."""
    kind = request.param
    if kind == "path":
        return place_at(tmp_path / "new")
    if kind == "file://":
        return place_at((tmp_path / "new").as_uri())
    if kind == "s3://":
        return place_at(request.getfixturevalue("server").uri(tmp_path.name))
    if kind == "pyarrow on a disk":
        opened = SubTreeFileSystem(str(tmp_path), LocalFileSystem()), ""
        monkeypatch.setattr(places, "_store", lambda root: opened)
    else:
        places._store.cache_clear()  # with it goes what the test before has written
    return place_at("mock:///new")


every_kind = pytest.mark.parametrize("root", KINDS, indirect=True)


@every_kind
def test_what_is_written_is_listed_and_read_and_can_be_replaced_and_removed(root):
    folder = root / "run-1f" / "none-0000"
    assert (folder.files(), folder.folders(), root.folders()) == ([], [], [])
    folder.write("a.pt", b"first")
    folder.write("b.pt", b"")
    folder.write("a.pt", b"second")
    assert sorted(folder.files()) == ["a.pt", "b.pt"]
    assert (folder.read("a.pt"), folder.read("b.pt")) == (b"second", b"")
    folder.remove("a.pt")
    folder.remove("a.pt")  # nothing is there any more
    assert folder.files() == ["b.pt"]
    with pytest.raises(FileNotFoundError):
        folder.read("a.pt")


@every_kind
def test_folders_are_listed_and_removed_with_all_that_is_in_them(root):
    for name in ("none-0000", "none-0001"):
        (root / name).write("a.pt", b"1")
    (root / "none-0000" / "deeper").write("a.pt", b"1")
    root.write("beside", b"1")
    assert (sorted(root.folders()), root.files()) == (["none-0000", "none-0001"], ["beside"])
    (root / "none-0000").remove_all()
    (root / "never").remove_all()
    assert (root.folders(), root.files()) == (["none-0001"], ["beside"])
    assert (root / "none-0000" / "deeper").files() == []


@every_kind
def test_a_place_is_told_to_another_process_as_text_or_pickled_whatever_its_names(root):
    folder = root / "a name, 100 % #1? ü" / "none-0000"
    folder.write("a.pt", b"1")
    for again in (place_at(str(folder)), pickle.loads(pickle.dumps(folder))):
        assert again == folder
        assert again.read("a.pt") == b"1"
    assert (root / "a name, 100 % #1? ü").name == "a name, 100 % #1? ü"
    assert root.folders() == ["a name, 100 % #1? ü"]


def state_of(epoch: int) -> dict[str, object]:
    return {"epoch": epoch, "weight": torch.arange(3.0) + epoch}


@every_kind
def test_the_newest_two_checkpoints_are_kept_and_a_damaged_one_gives_way(root):
    for epoch in (1, 2, 3):
        written = write_checkpoint(root, state_of(epoch), epoch=epoch)
    assert sorted(root.files()) == ["epoch-0002.pt", "epoch-0002.sha256", "epoch-0003.pt", "epoch-0003.sha256"]
    assert written_checkpoint(root, epoch=3) == written
    content = root.read("epoch-0003.pt")
    for damaged in (b"", content[: len(content) // 2], content[:-1] + bytes([content[-1] ^ 1])):
        root.write("epoch-0003.pt", damaged)
        assert read_newest_checkpoint(root)["epoch"] == 2
    root.write("epoch-0003.pt", content)
    assert read_newest_checkpoint(root)["weight"].tolist() == [3.0, 4.0, 5.0]
    root.remove("epoch-0003.sha256")  # as of a worker that was killed between the two
    assert (read_newest_checkpoint(root)["epoch"], newest_epoch(root)) == (2, 3)
    forget_epochs_after(root, 2)
    assert newest_epoch(root) == 2
    forget_epochs_after(root, 0)
    assert (newest_epoch(root), read_newest_checkpoint(root)) == (0, None)


# --- how often


@pytest.mark.parametrize(
    ("is_near", "seconds", "epochs"),
    [(True, 4, [1, 2, 3, 4, 5, 6, 7, 8]), (False, 4, [1, 5, 8]), (False, 1, [1, 3, 5, 7, 8])],
    ids=["near", "far", "far and quick"],
)
def test_far_away_checkpoints_take_a_tenth_of_the_time_and_are_apart(monkeypatch, is_near, seconds, epochs):
    """An epoch takes 10 s. After a write of 4 s the next one is due in 36 s, after one of 1 s in 20; the last is."""
    now, written = [100.0], []

    def write(place, state, *, epoch):
        now[0] += seconds
        written.append(epoch)
        return f"epoch-{epoch:04d}.pt", "ab"

    monkeypatch.setattr("trainables.training.checkpoints.write_checkpoint", write)
    monkeypatch.setattr("trainables.training.checkpoints.time.monotonic", lambda: now[0])
    writer = CheckpointWriter(LocalPlace(Path("x")) if is_near else RemotePlace("s3://x"), num_epochs=8)
    returned = []
    for epoch in range(1, 9):
        now[0] += 10
        returned.append(writer.write(lambda: {}, epoch=epoch))
    assert written == epochs
    assert [epoch for epoch, found in enumerate(returned, start=1) if found is not None] == epochs


def test_the_last_epoch_has_a_checkpoint_though_none_is_due(monkeypatch):
    monkeypatch.setattr("trainables.training.checkpoints.write_checkpoint", lambda *_, epoch: (str(epoch), "ab"))
    writer = CheckpointWriter(RemotePlace("s3://x"), num_epochs=3)
    writer._due = float("inf")
    assert [writer.write(lambda: {}, epoch=epoch) for epoch in (1, 2, 3)] == [None, None, ("3", "ab")]


def test_a_checkpoint_in_a_store_is_two_puts_and_a_list(server):
    folder = place_at(server.uri("counted"))
    write_checkpoint(folder, state_of(1), epoch=1)
    server.requests.clear()
    write_checkpoint(folder, state_of(2), epoch=2)
    assert [request.split()[0] for request in server.requests] == ["PUT", "PUT", "GET"]


# --- what cannot be reached


@pytest.mark.faults
def test_a_place_that_cannot_be_reached_is_no_folder_without_checkpoints(monkeypatch, faults):
    """Else a trial would begin anew, beside checkpoints that are there."""

    class Unreachable:
        def __getattr__(self, name):
            def refuse(*arguments, **options):
                raise OSError("When listing objects:\nAWS Error NETWORK_CONNECTION")

            return refuse

    monkeypatch.setattr(places, "_store", lambda root: (Unreachable(), "bucket"))
    place = RemotePlace("s3://bucket/run?region=x")
    asked = {
        "files": lambda: read_newest_checkpoint(place),
        "read": lambda: place.read("a.pt"),
        "write": lambda: place.write("a.pt", b""),
        "remove": lambda: place.remove("a.pt"),
    }
    for name in faults.each(list(asked), few=4):
        with pytest.raises(StorageError) as raised:
            asked[name]()
        error = pickle.loads(pickle.dumps(raised.value))
        assert error.strerror == "When listing objects: AWS Error NETWORK_CONNECTION"
        assert error.errno == errno.EIO
        assert error.filename == f"s3://bucket/run{'' if name == 'files' else '/a.pt'}?region=x"
    place.remove_all()  # what cannot be removed stays, as on a disk


def test_a_checkpoint_that_cannot_be_read_for_want_of_an_answer_does_not_give_way_to_the_one_before(monkeypatch):
    place = place_at("mock:///no-answer")
    for epoch in (1, 2):
        write_checkpoint(place, state_of(epoch), epoch=epoch)

    def refuse(place, name):
        raise StorageError(errno.EIO, "AWS Error NETWORK_CONNECTION", f"{place}/{name}")

    monkeypatch.setattr(RemotePlace, "read", refuse)
    with pytest.raises(StorageError, match="NETWORK_CONNECTION"):
        read_newest_checkpoint(place)


# --- what may be said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("s3://KEY:hunter2@bucket/x", "must be a URI without a password, which would be kept with the run"),
        ("abfs://:hunter2@account.dfs.core.windows.net/x", "must be a URI without a password"),
        ("abfs://c@account/x?client_secret=hunter2", "must be a URI without a client_secret"),
        ("/mnt/shared", "must be the URI of a folder, such as s3://bucket/folder or file:///folder, got '/mnt/shared'"),
        ("s3:bucket", "must be the URI of a folder"),
        ("s3://[bucket", "must be the URI of a folder"),
        ("s3://bucket/x#y", "must be the URI of a folder"),
        ("s3:///x", "must be the URI of a folder"),
        ("file://host/x", "must be the URI of a folder"),
        ("s3://bucket/a\nb", "must be the URI of a folder"),
    ],
)
def test_what_is_no_uri_or_holds_a_secret_is_refused_without_repeating_the_secret(text, sentence):
    with pytest.raises(ValueError, match="must be") as raised:
        require_uri(text)
    assert str(raised.value).startswith(sentence)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("text", ["s3://bucket", "s3://bucket/a/b?region=eu-west-1", "gs://b/x", "file:///mnt/shared"])
def test_a_uri_without_secrets_is_taken(text):
    require_uri(text)
