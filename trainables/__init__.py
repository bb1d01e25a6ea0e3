"""The training code: everything that a worker needs, and nothing of the study."""
