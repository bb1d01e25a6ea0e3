"""Who may use a Ray cluster: the token of one that is started here, and whether one that is joined asks for any.

Whoever reaches a Ray cluster that asks for no token can run code on it (CVE-2023-48022).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray._private.authentication.authentication_token_generator import generate_new_authentication_token

from study.core.errors import StudyError

MODE = "RAY_AUTH_MODE"
INSECURE = "--insecure-cluster"
_QUESTIONS = {"": "/ray.rpc.NodeInfoGcsService/CheckAlive", "ray": "/ray.rpc.RayletDriver/ClusterInfo"}
"""By an address's scheme, what its server answers without doing anything."""


def token_is_on() -> bool:
    return os.environ.get(MODE, "").lower() == "token"


def keep_token() -> None:
    """Have the Ray that this process starts next ask for a token, which this user alone can read. Raises StudyError."""
    if not token_is_on():
        os.environ.pop(MODE, None)  # a Ray that is started here turns it on where nothing turned it off
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return  # the user's own
    path = Path.home() / ".ray" / "auth_token"
    try:
        _make_private(path)
    except OSError as error:
        raise StudyError(
            f"the token of Ray cannot be kept in a file that you alone can read: {error}; set RAY_AUTH_TOKEN_PATH to "
            "a file of your own that holds one"
        ) from None


def _make_private(path: Path) -> None:
    """Close the file to others; make it, with a new token, if there is none: Ray would make it for all to read."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(generate_new_authentication_token())
        with contextlib.suppress(FileExistsError):  # of another process that was quicker
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """Have the Ray that is started in the block listen on this machine's loopback interface alone.

    Without it, control store, schedulers and workers listen on every interface. It is what Ray does by itself on
    macOS and Windows, where it forms no clusters.
    """
    constants = ray._private.ray_constants
    before, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


def require_token(address: str, *, seconds: float) -> None:
    """Raise StudyError unless the cluster at HOST:PORT or ray://HOST:PORT turns away one who shows no token.

    It is asked without one, so that nothing is shown to a cluster which anybody may have taken over.
    """
    import grpc  # here: a study that joins no cluster needs none of it

    scheme, _, place = address.rpartition("://")
    try:
        with _channel(place) as channel:
            channel.unary_unary(_QUESTIONS.get(scheme, _QUESTIONS[""]))(b"", timeout=seconds)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            return
        unknown = f"{error.code().name}: {error.details()}"
    except (OSError, RuntimeError) as error:  # of certificates
        unknown = str(error)
    else:
        raise StudyError(
            f"the Ray cluster at {address} asks for no token, so that whoever reaches it can run code on it: start it "
            f"with {MODE}=token, or give {INSECURE} where only people whom you trust reach it"
        )
    raise StudyError(
        f"whether the Ray cluster at {address} asks for a token could not be seen ({' '.join(unknown.split())}); "
        f"{INSECURE} joins it all the same"
    )


def _channel(place: str) -> Any:
    """A channel of gRPC as Ray's own are, but without a token."""
    import grpc
    from ray._common.tls_utils import load_certs_from_env

    options = [("grpc.enable_http_proxy", 0)]
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(place, options)
    chain, key, root = load_certs_from_env()
    return grpc.secure_channel(place, grpc.ssl_channel_credentials(root, key, chain), options)
