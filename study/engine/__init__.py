"""The engine that runs a study: session, Ray cluster, searcher, scheduler, the retest's jobs, console."""
