"""Import this first, where a server's process begins: nothing that is made until it runs is garbage.

Searching all of it for garbage while it is imported takes a fifth of a start's time. `server.main` begins to collect.
"""

import gc

gc.disable()
