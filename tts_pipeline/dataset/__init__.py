"""Reading the source, and the dataset that becomes of it: parts, journals, publishing. Knows no HTTP."""
