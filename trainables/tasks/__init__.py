"""The tasks as workers see them: one file per task, which says how its learner is built and judged."""
