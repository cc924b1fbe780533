"""Control the flow of requests: limits, retries, pauses, the budget and the circuit breaker."""
