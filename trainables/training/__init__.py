"""How a training runs: the learner, how it is built, judged, kept in checkpoints and tested."""
