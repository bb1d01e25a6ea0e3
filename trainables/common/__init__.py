"""What has no subject of its own: durable files, seeds, nearest names."""
