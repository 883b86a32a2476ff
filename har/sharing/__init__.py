"""Results together: storage, pull-request reports, merges of dvc.lock."""
