"""How fast the project is beside what a user would take instead: python -m benchmarks."""
