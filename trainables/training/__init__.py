"""Training: the learner, how it is built, judged, saved in checkpoints and tested."""
