"""Looks into a training: the learning-rate range test; feature maps, filters and features of a model."""
