"""A run whose checkpoints lie elsewhere has a copy there, from which it goes on on another machine."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from fake_session import conducted
from fake_tune import SPEC
from study_cases import asked, epoch_events
from study_process import assert_one_sentence, run_here

from study.core.errors import StudyError
from study.core.far_copy import FarCopy, run_at
from study.core.ledger import SESSION, Event, Ledger
from study.core.run_dir import checkpoints_of, new_run, remove_checkpoints, settings_of
from study.core.spec import StudySpec
from trainables.common.files import StorageError, write_durably
from trainables.common.places import Place, RemotePlace, place_at
from trainables.training.checkpoints import read_newest_checkpoint, write_checkpoint

_numbers = itertools.count()


def fetched(uri: str, output_dir: Path) -> Path:
    return run_at(uri).fetched(output_dir)


@pytest.fixture
def store() -> str:
    """The URI of an empty store in memory."""
    return f"mock:///copies-{next(_numbers)}"


@pytest.fixture
def spec(tmp_path, store) -> StudySpec:
    """Of a run that recorded an epoch and sent its copy."""
    spec = SPEC.model_copy(update={"output_dir": tmp_path / "first", "checkpoints": store})
    with new_run(spec, ("night",)) as (spec, ledger):
        ledger.append(Event(kind=SESSION, payload={"command": "it"}), asked("none-0000"))
        ledger.append(*epoch_events("none-0000", 1, 0.5))
        write_checkpoint(spec.run_dir / "weights" / "retest-none-0000-1000", {"model": {}}, epoch=1)
        (spec.run_dir / "plugins").mkdir()
        (spec.run_dir / "plugins" / "mine.py").write_text("mine = 1")
        ledger.on_backup = FarCopy(spec.run_dir, checkpoints_of(spec)).send
        ledger.back_up()
    return spec


def test_a_run_is_fetched_with_all_that_it_goes_on_with(tmp_path, spec, store):
    run_dir = fetched(f"{store}/{spec.checkpoint_folder}", tmp_path / "second")
    assert run_dir == tmp_path / "second" / "night"
    with Ledger(run_dir) as ledger, Ledger(spec.run_dir) as before:
        assert ledger.book == before.book
    assert type(spec)(**settings_of(run_dir)) == spec.model_copy(update={"output_dir": tmp_path / "second"})
    assert (run_dir / "plugins" / "mine.py").read_text() == "mine = 1"
    assert read_newest_checkpoint(run_dir / "weights" / "retest-none-0000-1000") == {"model": {}}
    assert (run_dir / "backup" / "ledger.db").read_bytes() == (spec.run_dir / "backup" / "ledger.db").read_bytes()


def copy_all(source: Place, target: Place) -> None:
    for name in source.files():
        target.write(name, source.read(name))
    for name in source.folders():
        copy_all(source / name, target / name)


def test_a_folder_that_was_moved_goes_on_where_it_lies_now(tmp_path, spec, store):
    copy_all(place_at(store) / str(spec.checkpoint_folder), place_at(f"{store}/moved/renamed"))
    run_dir = fetched(f"{store}/moved/renamed", tmp_path / "second")
    assert str(checkpoints_of(type(spec)(**settings_of(run_dir)))) == f"{store}/moved/renamed"


def test_a_name_is_enough_where_one_run_has_it(tmp_path, spec, store):
    """Of a driver's machine that is lost, nobody may know the token."""
    folder = str(spec.checkpoint_folder)
    place_at(f"{store}/night-owl").write("spec.json", b"")
    assert run_at(f"{store}/night").uri == f"{store}/{folder}"
    assert "checkpoint_folder" in settings_of(fetched(f"{store}/night", tmp_path / "second"))
    copy_all(place_at(f"{store}/{folder}"), place_at(f"{store}/night-00000000"))
    with pytest.raises(StudyError, match=rf"several runs, night-00000000 and {folder}: give the folder of one"):
        run_at(f"{store}/night")
    assert run_at(f"{store}/{folder}").folder == folder


@pytest.mark.parametrize("option", ["--num-trails=8", "--class-balance-beta=0.9", "--seeds=2"])
def test_an_option_that_is_none_of_the_run_is_refused_before_it_is_fetched(tmp_path, spec, store, option):
    second = tmp_path / "second"
    status, said, complained = run_here("study.resume", f"{store}/night", option, "--output-dir", str(second))
    assert (status, said) == (2, "")
    assert_one_sentence(complained)
    assert option.split("=")[0] in complained
    assert not second.exists()


def test_what_is_no_run_or_is_there_already_is_refused_in_one_sentence_and_leaves_nothing(tmp_path, spec, store):
    uri, second = f"{store}/{spec.checkpoint_folder}", tmp_path / "second"
    backup = checkpoints_of(spec) / "backup"
    kept = backup.read("spec.json")
    refused = {
        f"{store}/other": "it lacks backup/spec.json",
        "mock://": "must be the URI of a run's folder",
        "s3://KEY:hunter2@bucket/run-1f": "must be a URI without a password",
    }
    for place, says in refused.items():
        status, said, complained = run_here("study.resume", place, "--output-dir", str(second))
        assert (status, said) == (2, "")
        assert_one_sentence(complained)
        assert says in complained
        assert "hunter2" not in complained
    for damaged in (b"", b"[]", b"{}", b'{"name": "../up"}', b'{"name": 3}', b"\xff"):
        backup.write("spec.json", damaged)
        with pytest.raises(StudyError):
            fetched(uri, second)
    assert not list(tmp_path.glob("second/*"))
    backup.write("spec.json", kept)
    fetched(uri, second)
    with pytest.raises(StudyError, match=r"night exists already: continue it by .*study\.resume .*night, or fetch"):
        fetched(uri, second)


def test_only_what_changed_is_sent_again(tmp_path, spec, monkeypatch):
    copy, sent = FarCopy(spec.run_dir, checkpoints_of(spec)), []
    monkeypatch.setattr(RemotePlace, "write", lambda place, name, content: sent.append(name))
    copy.send()
    assert sorted(sent) == ["epoch-0001.pt", "epoch-0001.sha256", "ledger.db", "mine.py", "spec.json"]
    sent.clear()
    copy.send()
    assert sent == []
    write_durably(spec.run_dir / "backup" / "ledger.db", b"newer")
    copy.send()
    assert sent == ["ledger.db"]


@pytest.mark.faults
def test_a_study_does_not_end_for_want_of_a_copy_and_sends_it_when_it_can(spec, monkeypatch, faults):
    copy = FarCopy(spec.run_dir, checkpoints_of(spec))
    (checkpoints_of(spec) / "backup").remove("ledger.db")

    def refuse(place, name, content):
        raise StorageError(5, "AWS Error NETWORK_CONNECTION", f"{place}/{name}")

    for _ in faults.each([refuse]):
        with monkeypatch.context() as broken, Ledger(spec.run_dir) as ledger:
            broken.setattr(RemotePlace, "write", refuse)
            ledger.on_backup = copy.send
            ledger.append(*epoch_events("none-0000", 2, 0.5))
            ledger.back_up()
        assert "NETWORK_CONNECTION" in str(copy.refusal)
        copy.send()
        assert copy.refusal is None
        assert "ledger.db" in (checkpoints_of(spec) / "backup").files()


def test_with_a_copy_the_ledger_is_backed_up_every_ten_seconds_or_as_often_as_takes_a_twentieth(tmp_path, monkeypatch):
    """A copy that takes 2 s is sent 40 s after the last; one that takes 0.1 s after 10 s."""
    now, sent = [0.0], []
    monkeypatch.setattr("study.core.ledger.time.monotonic", lambda: now[0])
    with Ledger(tmp_path) as ledger:
        for seconds in (2.0, 0.1):

            def send(seconds=seconds):
                sent.append(now[0])
                now[0] += seconds

            ledger.on_backup = send
            ledger.append(asked(f"none-{len(sent):04d}"))
            ledger.back_up()
            sent.clear()
            begun = now[0]
            while not sent:
                now[0] += 1
                ledger.append(*epoch_events("none-0000", int(now[0]), 0.5))
            assert sent[0] - begun == {2.0: 41.0, 0.1: 11.0}[seconds]
        ledger.on_backup = None


def test_when_all_trainings_are_removed_the_copy_stays(spec, tmp_path):
    checkpoints = checkpoints_of(spec)
    write_checkpoint(checkpoints / "none-0000", {}, epoch=1)
    remove_checkpoints(checkpoints)
    assert checkpoints.folders() == ["backup"]
    here = place_at(tmp_path / "checkpoints")
    write_checkpoint(here / "none-0000", {}, epoch=1)
    remove_checkpoints(here)
    assert not Path(str(here)).exists()


@pytest.mark.parametrize("is_reached", [True, False])
def test_a_session_sends_its_end_and_says_where_it_cannot(tmp_path, store, monkeypatch, is_reached):
    monkeypatch.setattr("fake_session.SPEC", SPEC.model_copy(update={"checkpoints": store}))
    if not is_reached:

        def refuse(place, name, content):
            raise StorageError(5, "AWS Error NETWORK_CONNECTION", str(place / name))

        monkeypatch.setattr(RemotePlace, "write", refuse)
    _, said, run_dir = conducted(tmp_path / "first", KeyboardInterrupt())
    note = "note: the copy of this run is not up to date: mock:///"
    assert (note in said) != is_reached
    if is_reached:
        (folder,) = place_at(store).folders()
        with Ledger(fetched(f"{store}/{folder}", tmp_path / "second")) as copy, Ledger(run_dir) as own:
            assert copy.book.sessions == own.book.sessions
            assert copy.book.sessions[0]["state"] == "interrupted"
