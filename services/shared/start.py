"""Disables garbage collection while a server's process imports its modules; `server.main` enables it.

Imported first by each server's `__main__`. What is imported is no garbage, and collecting takes a fifth of a start's
time.
"""

import gc

gc.disable()
