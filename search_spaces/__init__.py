"""Search spaces: define-by-run functions for Optuna, arms and start points, one file per task."""
