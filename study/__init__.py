"""Studies: declared, run, recorded, judged and shown."""
