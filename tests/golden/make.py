"""What the program computes, condensed so that two versions of it can be compared on one machine.

    python tests/golden/make.py FILE [--only NAME,...]

writes FILE: for every arm of every study the SHA-256 of its weights after two epochs; of one serial study a task, and
of a reproduction, every event of the ledger without clocks and machine; of every gallery run the page that
its tables give. It knows the commands alone, so it runs on any version of the code: make one FILE before a change and
one after it, and compare them with diff. The digests of weights hold for one machine and one version of PyTorch.
recorded.json is the one of the code before it had rooms, less the digests of single events; the code after equals it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
COMMON = ("--precision", "float32", "--seed", "3")
ONE_TRIAL = ("--trials-per-arm", "1", "--max-epochs", "2", "--grace-epochs", "2", "--retest-seeds", "1")
SERIAL = ("--max-epochs", "4", "--grace-epochs", "1", "--reduction-factor", "2", "--max-concurrent", "1",
          "--retest-seeds", "2")  # fmt: skip
SMALL = ("--image-size", "16")
ALL_ARMS = {
    "imbalance": ("imbalance", "--dataset", "digits", "--arms", "all"),
    "baseline": ("baseline", "--dataset", "digits", "--arms", "all", *SMALL),
    "cifar100": ("cifar100", "--dataset", "digits", "--arms", "all", "--model", "resnet20", *SMALL),
    "jigsaw": ("jigsaw", "--dataset", "digits", "--arms", "all", "--pretext-trials", "1", "--pretext-epochs", "2",
               "--label-fractions", "0.1,1", *SMALL),
}  # fmt: skip
STUDIES = {
    "imbalance": ("imbalance", "--dataset", "digits", "--arms", "none,weighted_sampler,ldam_drw",
                  "--trials-per-arm", "5"),
    "baseline": ("baseline", "--dataset", "digits", "--arms", "lenet,small_cnn", "--trials-per-arm", "6", *SMALL),
    "cifar100": ("cifar100", "--dataset", "digits", "--arms", "memorise,both", "--trials-per-arm", "2",
                 "--model", "resnet20", *SMALL),
    "jigsaw": ("jigsaw", "--dataset", "digits", "--trials-per-arm", "2", "--pretext-trials", "3",
               "--pretext-epochs", "2", "--label-fractions", "0.1,0.5", *SMALL),
}  # fmt: skip
REPRODUCTION = ("s1", "s4_lenet_2ep", "s0_flag_oversample", "--dataset", "digits", "--scale", "0.01", "--seeds", "1",
                "--max-concurrent", "1", "--precision", "float32")  # fmt: skip
# What differs from one execution to the next, or names the place. A checkpoint's digest covers the seconds it took.
CLOCKS = re.compile(r"seconds$|^time$|^started$|^ended$|^hardware$|^versions$|^commit$|^command$|^origin$|^sha256$")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", default="", help="parts, such as pages,weights/imbalance")
    given = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in parts(Path(folder)).items():
            if not given.only or any(name.startswith(part) for part in given.only.split(",")):
                print(name, flush=True)
                found[name] = make()
    given.file.write_text(json.dumps(found, indent=1) + "\n")


def machine() -> dict[str, str]:
    """What the digests of weights hold for."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    return {"processor": models[0] if models else platform.machine(), "torch": version("torch")}


def parts(folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for run_dir in sorted(path.parent for path in (PROJECT / "reports" / "gallery").glob("*/summary.json")):
        made[f"pages/{run_dir.name}"] = lambda run_dir=run_dir: page(run_dir, folder)
    for task, arguments in ALL_ARMS.items():
        made[f"weights/{task}"] = lambda task=task, arguments=arguments: weights(
            study(folder, f"weights-{task}", *arguments, *ONE_TRIAL, *COMMON)
        )
    for task, arguments in STUDIES.items():
        made[f"events/{task}"] = lambda task=task, arguments=arguments: told(
            study(folder, f"events-{task}", *arguments, *SERIAL, *COMMON)
        )
    made["events/reproduction"] = lambda: told(
        run(folder, "reproduction", "study.reproduce", *REPRODUCTION, "--data-root", "no-such-folder")
    )
    return made


def study(folder: Path, name: str, *arguments: str) -> Path:
    return run(folder, name, "study.run", *arguments)


def run(folder: Path, name: str, verb: str, *arguments: str) -> Path:
    command = [sys.executable, "-m", verb, *arguments, "--output-dir", str(folder), "--name", name]
    subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    return folder / name


def weights(run_dir: Path) -> dict[str, str]:
    """Trial, or retest, -> the digest of its weights after the last epoch."""
    found = {}
    for kind, trial_id, payload in events(run_dir):
        if kind == "epoch":
            found[trial_id] = payload["weights_sha256"]
        elif kind == "retest":
            found[f"{payload['trial_id']}, seed {payload['seed']}"] = payload["weights_sha256"]
    return found


def told(run_dir: Path) -> dict[str, Any]:
    """What each event says, a digest of all, and each winner's configuration."""
    texts = [
        json.dumps([kind, trial_id, without_clocks(payload)], sort_keys=True)
        for kind, trial_id, payload in events(run_dir)
    ]
    summary = json.loads((run_dir / "summary.json").read_text())
    return {
        "num_events": len(texts),
        "sha256": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
        "each": [hashlib.sha256(text.encode()).hexdigest()[:12] for text in texts],
        "winners": {
            arm: {"trial_id": winner["trial_id"], "config": winner["config"], "command": winner["command"]}
            for arm, winner in summary.get("winners", {}).items()
        },
    }


def without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_clocks(inner) for name, inner in value.items() if not CLOCKS.search(name)}
    return [without_clocks(inner) for inner in value] if isinstance(value, list) else value


def events(run_dir: Path) -> Iterable[tuple[str, str | None, dict[str, Any]]]:
    database = sqlite3.connect(f"file:{run_dir / 'ledger.db'}?mode=ro", uri=True)
    for kind, trial_id, payload in database.execute("SELECT kind, trial_id, payload FROM events ORDER BY seq"):
        yield kind, trial_id, json.loads(payload)
    database.close()


def page(run_dir: Path, folder: Path) -> dict[str, str]:
    """Digests of the page that a gallery run's tables give, with and without its pictures."""
    copy = folder / "pages" / run_dir.name
    shutil.copytree(run_dir, copy, ignore=shutil.ignore_patterns("report.html", "figures"))
    subprocess.run([sys.executable, "-m", "study.report", str(copy)], cwd=PROJECT, check=True, stdout=subprocess.PIPE)
    html = (copy / "report.html").read_text()
    text = re.sub(r"data:image/png;base64,[^\"]*", "", html)
    return {
        "page": hashlib.sha256(html.encode()).hexdigest(),
        "text": hashlib.sha256(text.encode()).hexdigest(),
        "is_as_committed": str(html == (run_dir / "report.html").read_text()),
        "text_is_as_committed": str(
            text == re.sub(r"data:image/png;base64,[^\"]*", "", (run_dir / "report.html").read_text())
        ),
    }


if __name__ == "__main__":
    main()
