"""Hold the contestants: each module runs as its own process and prints one line of JSON.

They import only ``task`` from the harness, because those of other libraries run in environments without this package.
"""
