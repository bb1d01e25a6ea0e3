"""What runs a study: a session, Ray's cluster, the searcher, the scheduler, the jobs of a retest, the console."""
