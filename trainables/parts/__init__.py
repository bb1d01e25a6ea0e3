"""What a training is put together from, each by name: losses, samplers, optimisers ...."""
