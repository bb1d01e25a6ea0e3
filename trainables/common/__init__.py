"""Utilities that belong to no subject: durable files, seeds, nearest names."""
