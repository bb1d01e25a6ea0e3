"""A run's records in the formats of tools that people already look at."""
