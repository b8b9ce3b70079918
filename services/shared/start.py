"""What has to stand before a server's process imports its modules. Imported first by each server's `__main__`.

Garbage collection is off until `server.main` enables it: what is imported is no garbage, and collecting takes a fifth
of a start's time.
"""

import gc

import services.shared.poller  # noqa: F401 - for what it does

gc.disable()
