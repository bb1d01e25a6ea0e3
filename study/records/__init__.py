"""The records of a run directory besides the ledger: the Parquet tables, summary.json, provenance."""
