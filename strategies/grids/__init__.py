"""Where the clients of a federation run: engines behind flwr.serverapp.Grid."""
