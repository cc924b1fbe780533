"""The wire: request building and response reading as pure functions; no I/O, no clock, no retry."""
