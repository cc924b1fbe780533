"""How requests flow: limits, retries, pauses and the circuit breaker. Pure, with times handed in."""
