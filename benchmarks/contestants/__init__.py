"""The contestants: each a module that is run as a process of its own and prints one line of JSON.

They import nothing of the harness but ``task``: those of other libraries run in environments without ours.
"""
