"""What a run directory holds beside the ledger: the Parquet tables, summary.json, where it was made."""
