"""Trials of one setting as others would run them, each a process: python -m benchmarks.peers.NAME SETTING."""
