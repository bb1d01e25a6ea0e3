"""The tasks as studies: one file per task with its options, stages and default budgets, and the registry."""
