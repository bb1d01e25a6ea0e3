"""python -m study.inspect RUN TRIAL: feature maps, filters, confusions and t-SNE of a completed trial."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

from study.cli import Parser, given_path, require_known, run_main
from study.core.errors import StudyError
from study.core.invocation import invocation


def main(argv: Sequence[str]) -> int:
    given = parse(argv)
    from study.probes.inspection import inspect_trial

    run_dir = given_path("RUN", given.run)
    found = inspect_trial(
        run_dir,
        given.trial,
        layers=given.layers,
        image=given.image,
        num_tsne=given.num_tsne,
        tsne_layer=given.tsne_layer,
    )
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(*found.lines, *found.files, sep="\n")
    return 0


def parse(argv: Sequence[str]) -> Namespace:
    """Returns run, trial, layers (None: the default ones), image, num_tsne and tsne_layer. Raises StudyError."""
    parser = Parser(
        prog=invocation("study.inspect"),
        description="Looks into a completed trial: writes RUN/inspect/TRIAL/ with feature maps, first-layer filters, "
        "the confusion matrix and t-SNE on validation images. No test image is used.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, such as reports/NAME")
    parser.add_argument("trial", metavar="TRIAL", help="a completed trial of it, such as none-0003")
    parser.add_argument(
        "--layers",
        metavar="A,B",
        type=lambda text: tuple(part.strip() for part in text.split(",")),
        help="whose feature maps to show, or all [default: the first convolution and the last convolutional stage]",
    )
    parser.add_argument(
        "--image",
        metavar="N|FILE|NAME",
        default="0",
        help="which image the maps are of: the index of a validation image, a file, or the name of an image in the "
        "data set, such as AnnualCrop_1111.jpg, that is no test image [default 0]",
    )
    parser.add_argument(
        "--num-tsne", metavar="N", default="1000", help="at most so many images in t-SNE [default 1000]"
    )
    parser.add_argument(
        "--tsne-layer",
        metavar="LAYER",
        help="whose outputs t-SNE is of, such as fc1 [default: what the last layer is given]",
    )
    given, unknown = parser.parse_known_args(argv)
    require_known(parser, unknown)
    if not given.num_tsne.isdecimal():
        raise StudyError(f"--num-tsne must be a whole number, got {given.num_tsne!r}")
    given.num_tsne = int(given.num_tsne)
    return given


if __name__ == "__main__":
    run_main(main)
