"""What may vary: Optuna define-by-run functions, arms and start points, one file a task."""
