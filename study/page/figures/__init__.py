"""The figures of the page: each has a data function and a draw function."""
