"""The write-ahead log: records, journals, their writer, replay and shipping."""
