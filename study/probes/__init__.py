"""Probes of single trainings: the learning-rate range test, and the inspection of a completed trial."""
