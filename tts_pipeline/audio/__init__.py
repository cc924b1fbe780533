"""Audio: identify, measure, mend, convert. Pure functions over whole files in memory."""
