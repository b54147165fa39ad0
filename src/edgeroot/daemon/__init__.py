"""The service as a set of processes: configuration, logs, listeners, workers, signals."""
