"""Build requests and parse responses, by pure functions: no I/O, no clock, no retry."""
