"""An S3 server in this process (moto), where there is one: pip install -e '.[s3]'."""

from __future__ import annotations

import contextlib
import logging
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

BUCKET = "bucket"


@dataclass
class S3Server:
    """uri: of a bucket. requests: the methods and paths that it was asked, in order."""

    port: int
    requests: list[str] = field(default_factory=list)

    @property
    def query(self) -> str:
        return f"?endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"

    def uri(self, folder: str) -> str:
        return f"s3://{BUCKET}/{folder}{self.query}"


class _Requests(logging.Handler):
    def __init__(self, requests: list[str]) -> None:
        super().__init__()
        self._requests = requests

    def emit(self, record: logging.LogRecord) -> None:
        if found := re.search(r"(GET|PUT|POST|HEAD|DELETE) (\S+) HTTP", record.getMessage()):
            self._requests.append(f"{found[1]} {found[2]}")


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server with an empty bucket, and what pyarrow and its child processes need to be let in. Skips without moto."""
    moto = pytest.importorskip("moto.moto_server.threaded_moto_server", exc_type=ImportError)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logger = logging.getLogger("werkzeug")
    server.start()
    try:
        _, port = server.get_host_and_port()
        s3 = S3Server(port)
        logger.handlers, logger.propagate, logger.level = [_Requests(s3.requests)], False, logging.INFO
        with pytest.MonkeyPatch.context() as patch:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                patch.setenv(name, "test")
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            made = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
            urllib.request.urlopen(made).close()
            s3.requests.clear()
            yield s3
    finally:
        server.stop()
