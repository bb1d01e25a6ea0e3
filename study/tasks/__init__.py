"""The tasks as studies: one file a task with its options, stages and default budgets, and the registry."""
