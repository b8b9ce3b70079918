"""Loaded before anything imports gRPC: lets tests start processes while gRPC works in this one.

gRPC's fork handlers crash a child before it becomes its program, every third time or so while calls are under way. What
`azora up` starts is not concerned: the supervisor itself never loads gRPC.
"""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
