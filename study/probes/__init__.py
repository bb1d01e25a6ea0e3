"""Looks into single trainings: the learning-rate range test, and a finished trial from the inside."""
