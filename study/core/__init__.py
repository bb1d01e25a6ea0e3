"""The foundation of the other rooms: spec, stages, the ledger, the run directory, errors."""
