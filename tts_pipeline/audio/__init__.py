"""Identify, measure, correct and convert audio, by pure functions over whole files in memory."""
