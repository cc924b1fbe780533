"""Speech from text in bulk: text rows go in; audio, word timestamps and an exact bill come out."""
