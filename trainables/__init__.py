"""What trains: everything a worker needs and nothing of the study."""
