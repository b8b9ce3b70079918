"""Turns gRPC's event engine off, for listeners and clients, before grpc is imported.

It hands each call from thread to thread, which costs a call 45 us of CPU and, where other work has the CPUs, a wait at
each hand-over. Replaces GRPC_EXPERIMENTS of the environment (an experiment of its name can be turned off, see gRPC's
`doc/environment_variables.md`). By `putenv`, because gRPC's core reads the variable, and settings alone read the rest.
"""

import os

os.putenv("GRPC_EXPERIMENTS", "-event_engine_listener,-event_engine_client")
