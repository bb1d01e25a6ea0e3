"""Run a small study from Python, look at it in pandas, and classify images with its best model.

    python examples/from_python.py

The same lines work in a notebook. Settings are the options of python -m study.run baseline; an editor completes them.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from study import Baseline


def main() -> None:
    run = Baseline(
        arms=("lenet", "small_cnn"),
        dataset="digits",
        image_size=16,
        trials_per_arm=2,
        max_epochs=2,
        grace_epochs=1,
        reduction_factor=2,
        retest_seeds=2,
        space={"momentum": "0.9", "learning_rate@adam": "1e-4..1e-2"},
        precision="float32",
        dashboard=False,
        name="from-python",
    ).run()

    print(*run.verdicts, sep="\n")
    print(run.trials.groupby("arm")["objective"].max())
    print(run.winner.arm, run.winner.hparams)

    model = run.winner.load_model()
    digits = torch.from_numpy(load_digits().images[:5])  # 8 × 8 pixels from 0 to 16, in grey
    images = (digits * 255 / 16).to(torch.uint8).repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    with torch.inference_mode():
        logits = model(images[..., None].repeat(1, 1, 1, 3))
    print("read as", [model.class_names[index] for index in logits.argmax(dim=1)])


if __name__ == "__main__":
    main()
