"""Publish the tables and the request bodies as JSON for machines."""
