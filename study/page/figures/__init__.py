"""The plots of the page: a data function and a draw function each."""
