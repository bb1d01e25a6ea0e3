"""What every room of a study stands on: its spec, its stages, the ledger, the run directory, errors."""
