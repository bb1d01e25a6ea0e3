"""How long the page of a large study takes to rebuild, in a process of its own.

    python tests/simulations/large_study.py [--arms 10] [--trials 100] [--epochs 100] [--keep DIR]

Writes a run directory from planted learning curves, all trials trained to their end (the most rows there can be), and
runs study.report on it: seconds of the whole process, its peak memory, and the size of the page.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fake_run import FAKES, FOURTEEN_ARMS, write_run  # noqa: E402


def main() -> None:
    import resource  # Windows has none

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=int, default=10)
    parser.add_argument("--trials", type=int, default=100, help="of each arm")
    parser.add_argument("--epochs", type=int, default=100, help="of each trial")
    parser.add_argument("--keep", type=Path, default=None, help="where to write the run directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_dir = write_run(
            options.keep or Path(folder) / "run",
            arms=FOURTEEN_ARMS[: options.arms],
            fake=FAKES["imbalance"],
            num_trials=options.trials,
            max_epochs=options.epochs,
            stops=False,
        )
        start = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-m", "study.report", str(run_dir)], check=True, env=environment)
        seconds = time.monotonic() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{options.arms * options.trials:,} trials, {options.arms * options.trials * options.epochs:,} epochs:")
        cpu_seconds = used.ru_utime + used.ru_stime
        print(f"{seconds:.1f} s, of these {cpu_seconds:.1f} s of CPU; peak {used.ru_maxrss / 1e6:.2f} GB")
        print(f"page {(run_dir / 'report.html').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
