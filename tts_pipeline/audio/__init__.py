"""Audio: what bytes are, and what they hold; pure functions over whole files in memory."""
