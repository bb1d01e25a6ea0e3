"""The parts that a training is made of, each listed by name: losses, samplers, optimisers and others."""
