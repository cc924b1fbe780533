"""HTTP: send one request, watch its connection, classify its errors, and fetch audio by its URL."""
