"""Probes of a training: the learning-rate range test; the feature maps, filters and features of a model."""
