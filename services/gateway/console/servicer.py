"""ConsoleService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.gateway.v1 import console_service_pb2_grpc

from services.gateway.console import convert

if TYPE_CHECKING:
    from azora.gateway.v1 import console_service_pb2 as pb

    from interceptors.base import Context
    from services.gateway.console.operations import ConsoleOperations


class ConsoleServicer(console_service_pb2_grpc.ConsoleServiceServicer):
    """The data of the console."""

    def __init__(self, operations: ConsoleOperations, policies: pb.ListPoliciesResponse) -> None:
        """`policies` are those of the contract, which do not change while the process runs."""
        self._operations = operations
        self._policies = policies

    async def GetMesh(self, request: pb.GetMeshRequest, context: Context) -> pb.GetMeshResponse:
        return convert.get_mesh_response(self._operations.get_mesh(after=convert.after(request)))

    async def ListTraces(self, request: pb.ListTracesRequest, context: Context) -> pb.ListTracesResponse:
        traces = self._operations.list_traces(page_size=request.page_size, method=request.method)
        return convert.list_traces_response(traces, otlp_endpoint=self._operations.otlp_endpoint)

    async def GetTrace(self, request: pb.GetTraceRequest, context: Context) -> pb.GetTraceResponse:
        return convert.get_trace_response(self._operations.get_trace(trace_id=request.trace_id))

    async def ListPolicies(self, request: pb.ListPoliciesRequest, context: Context) -> pb.ListPoliciesResponse:
        return self._policies

    async def ListBackgroundWork(
        self, request: pb.ListBackgroundWorkRequest, context: Context
    ) -> pb.ListBackgroundWorkResponse:
        return convert.list_background_work_response(*await self._operations.list_background_work())
