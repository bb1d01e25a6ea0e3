"""Probes of single trainings: the learning-rate range test, inspection, replay; and the preflight of a study."""
