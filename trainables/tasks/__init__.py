"""The tasks as trainings: one file a task with how its learner is built and judged."""
