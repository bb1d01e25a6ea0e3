"""Who may use Ray: its token is private, it listens on loopback alone, and a cluster that asks for none is refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
import ray
from study_process import run_here

from study.core.errors import StudyError
from study.engine import access, study_session
from study.engine.cluster import connected


@pytest.fixture
def token(monkeypatch, tmp_path) -> Path:
    """Where Ray keeps its token; there is none yet."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- a Ray that is started here


def test_the_token_is_made_for_this_user_alone(token):
    access.keep_token()
    assert len(token.read_text()) >= 32
    assert (permissions(token), permissions(token.parent)) == (0o600, 0o700)
    assert os.listdir(token.parent) == ["auth_token"]


def test_a_token_that_others_could_read_is_closed_to_them_and_stays(token):
    token.parent.mkdir()
    token.write_text("the same")
    token.chmod(0o644)
    access.keep_token()
    assert (token.read_text(), permissions(token)) == ("the same", 0o600)


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_that_the_user_gives_is_left_to_the_user(token, monkeypatch, name):
    monkeypatch.setenv(name, "mine")
    access.keep_token()
    assert not token.exists()


def test_the_environment_does_not_turn_the_token_off(token, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    access.keep_token()
    assert "RAY_AUTH_MODE" not in os.environ  # so that ray.init turns it on


def test_a_home_that_takes_no_token_is_one_sentence(token, monkeypatch):
    token.parent.write_text("a file where the folder would be")
    with pytest.raises(StudyError, match=r"^the token of Ray cannot be kept .* set RAY_AUTH_TOKEN_PATH to a file"):
        access.keep_token()


def test_ray_is_started_with_a_private_token_and_on_loopback_alone(token, monkeypatch):
    seen = []

    def init(**options):
        seen.append((permissions(token), ray._private.services.get_node_ip_address()))
        return SimpleNamespace(dashboard_url="127.0.0.1:8265")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray._private.worker, "_global_node", None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    for address in (None, "local"):
        with connected(address) as joined:
            joined.start(print)
    assert seen == [(0o600, "127.0.0.1")] * 2
    assert ray._private.ray_constants.ENABLE_RAY_CLUSTER  # a cluster may be joined afterwards


# --- a cluster that is joined


class Answering(grpc.GenericRpcHandler):
    """Answers every call with the status. asked: the calls, and whether they brought a token."""

    def __init__(self, status: grpc.StatusCode) -> None:
        self.status = status
        self.asked: list[tuple[str, bool]] = []

    def service(self, details):
        self.asked.append((details.method, "authorization" in {key for key, _ in details.invocation_metadata}))
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request, context):
        if self.status is not grpc.StatusCode.OK:
            context.abort(self.status, "because\nof it")
        return b""


@contextmanager
def answering(status: grpc.StatusCode) -> Iterator[tuple[str, Answering]]:
    """A server that answers as a cluster would."""
    handler = Answering(status)
    server = grpc.server(ThreadPoolExecutor(1), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", handler
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_asks_for_a_token_is_joined_and_shown_none_before(scheme, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    with answering(grpc.StatusCode.UNAUTHENTICATED) as (address, server):
        access.require_token(scheme + address, seconds=10)
    service = "RayletDriver/ClusterInfo" if scheme else "NodeInfoGcsService/CheckAlive"
    assert server.asked == [(f"/ray.rpc.{service}", False)]


def test_a_cluster_that_asks_for_none_is_refused():
    with answering(grpc.StatusCode.OK) as (address, _), pytest.raises(StudyError) as caught:
        access.require_token(address, seconds=10)
    assert str(caught.value).startswith(f"the Ray cluster at {address} asks for no token, so that whoever reaches it")
    assert str(caught.value).endswith("or give --insecure-cluster where only people whom you trust reach it")


@pytest.mark.parametrize("status", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL])
def test_one_of_which_it_cannot_be_seen_is_refused_too(status):
    with answering(status) as (address, _), pytest.raises(StudyError) as caught:
        access.require_token(address, seconds=10)
    assert f"asks for a token could not be seen ({status.name}: because of it)" in str(caught.value)


def test_certificates_that_are_not_there_are_one_sentence(monkeypatch):
    monkeypatch.setenv("RAY_USE_TLS", "1")
    for name in ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StudyError, match=r"could not be seen \(.*RAY_TLS_SERVER_CERT"):
        access.require_token("127.0.0.1:1", seconds=1)


@pytest.fixture
def joined(monkeypatch, tmp_path):
    """The addresses that were joined."""
    calls = []

    def init(*, address, **options):
        calls.append(address)
        raise ConnectionError("not in a test")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return calls


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("insecure", [True, False])
@pytest.mark.parametrize("found", ["by its address", "by auto"])
def test_no_cluster_without_a_token_is_joined_unless_that_is_said(joined, monkeypatch, asks, insecure, found):
    with answering(grpc.StatusCode.UNAUTHENTICATED if asks else grpc.StatusCode.OK) as (address, server):
        if found == "by auto":
            monkeypatch.setenv("RAY_ADDRESS", address)
            address = "auto"
        with pytest.raises(StudyError), connected(address, insecure=insecure):
            pass
    assert joined == ([address] if asks or insecure else [])
    assert len(server.asked) == (0 if insecure else 1)


def test_auto_without_a_cluster_is_one_sentence(joined, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray._private.services, "find_gcs_addresses", set)
    monkeypatch.setattr(ray._private.services, "find_bootstrap_address", lambda folder: None)
    with pytest.raises(StudyError, match=r"^the Ray cluster at auto did not answer: Could not find any running Ray"):  # noqa: SIM117
        with connected("auto"):
            pass
    assert joined == []


@pytest.mark.parametrize(
    "words",
    [
        ("study.run", "imbalance", "--arms", "none", "--dataset", "digits", "--image-size", "16"),
        ("study.reproduce", "s0", "--dataset", "digits", "--scale", "0.01", "--no-variants"),
    ],
    ids=lambda words: words[0],
)
def test_the_command_line_refuses_it_and_leaves_nothing(joined, monkeypatch, tmp_path, words):
    monkeypatch.setattr(study_session, "require_trainable", lambda *what: None)  # tested elsewhere, and slow
    with answering(grpc.StatusCode.OK) as (address, _):
        status, _, stderr = run_here(*words, "--address", address)
        assert (status, len(stderr.splitlines()), joined) == (2, 1, [])
        assert "--insecure-cluster" in stderr
        run_here(*words, "--address", address, "--insecure-cluster")
    assert joined == [address]
    assert not any(tmp_path.rglob("ledger.db"))
