"""What is measured: recordings, windows, representations, protocols, metrics."""
