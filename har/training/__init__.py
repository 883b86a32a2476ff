"""One way to train: batches, early stopping, resumption, calibration."""
