"""A Pulumi provider with one kind of resource whose creation waits until a file is there.

Run as a program: it speaks Pulumi's provider protocol, and tells its port on standard output.
The inputs are `begun`, which it makes, and `open`, which it waits for. Nothing is made.
"""

from __future__ import annotations

import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc


class Slow(provider_pb2_grpc.ResourceProviderServicer):  # type: ignore[misc, unused-ignore]
    """The provider."""

    def GetSchema(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return provider_pb2.GetSchemaResponse(
            schema="""{"name": "slow", "version": "0.0.1", "resources": {"slow:index:Thing": {
            "inputProperties": {"begun": {"type": "string"}, "open": {"type": "string"}},
            "properties": {"begun": {"type": "string"}, "open": {"type": "string"}}}}}"""
        )

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return provider_pb2.DiffResponse()

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return provider_pb2.ConfigureResponse(acceptSecrets=True, acceptResources=True)

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return plugin_pb2.PluginInfo(version="0.0.1")

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return provider_pb2.CheckResponse(inputs=request.news)

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        properties = dict(request.properties)
        if not request.preview:
            Path(properties["begun"]).touch()
            pause = threading.Event()
            while not Path(properties["open"]).exists():
                pause.wait(0.02)
        return provider_pb2.CreateResponse(id="thing", properties=request.properties)

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return provider_pb2.ReadResponse(
            id=request.id, properties=request.properties, inputs=request.inputs
        )

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return empty_pb2.Empty()


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Slow(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)  # noqa: T201 - how Pulumi learns of it
    server.wait_for_termination()


if __name__ == "__main__":
    main()
