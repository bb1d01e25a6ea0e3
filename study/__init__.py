"""Studies: declared, run, recorded, judged and shown. From Python: see study.api, whose names are this package's."""

import os.path
import signal
import sys

# A verb's process, whose imports take seconds: until it handles Ctrl-C itself, that ends it without a traceback.
_is_verb = sys.argv[:1] == ["-m"] or os.path.basename(sys.argv[0] if sys.argv else "") == "ray-study"
if _is_verb and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from typing import TYPE_CHECKING, Any  # noqa: E402 (it takes a while, in which Ctrl-C may come)

if TYPE_CHECKING:
    from study.api import Baseline, Cifar100, Imbalance, Jigsaw, Preflight, Run, Winner
    from study.core.errors import StudyError
    from trainables.data.types import DataError

__all__ = ["Baseline", "Cifar100", "DataError", "Imbalance", "Jigsaw", "Preflight", "Run", "StudyError", "Winner"]


def __getattr__(name: str) -> Any:
    """The names of study.api, imported when they are asked for: with them come Ray, torch and Matplotlib."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from study import api

    return getattr(api, name)
