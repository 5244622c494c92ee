"""A small Pulumi provider: real local files, for demonstrations and tests without a cloud.

Its one resource is `localfile:index:File`. Inputs:

path           where the file is, absolute
content        what is in it
contentFromEnv a variable of the environment that holds the content instead; what is kept in
               Pulumi's state is only its SHA-256
mode           permissions, such as "0640"; "0644" where it is not given
delaySeconds   how long to wait before the file is written, changed or deleted
failWith       the operation fails with this text

Outputs: the inputs, and `sha256` of the content.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

__all__ = ["LocalFile", "serve"]

VERSION = "0.1.0"
TYPE = "localfile:index:File"
INPUTS = ("path", "content", "contentFromEnv", "mode", "delaySeconds", "failWith")
# As many operations as Pulumi starts at once by default on a small machine.
THREADS = 16
LONGEST_DELAY_S = 3600.0

SCHEMA = {
    "name": "localfile",
    "version": VERSION,
    "description": "Real local files, for demonstrations and tests.",
    "resources": {
        TYPE: {
            "description": "A file on this machine.",
            "inputProperties": {
                name: {"type": "number" if name == "delaySeconds" else "string"} for name in INPUTS
            },
            "requiredInputs": ["path"],
            "properties": {
                name: {"type": "number" if name == "delaySeconds" else "string"}
                for name in (*INPUTS, "sha256")
            },
            "required": ["path", "sha256"],
        }
    },
}


class LocalFile(provider_pb2_grpc.ResourceProviderServicer):  # type: ignore[misc, unused-ignore]
    """The provider; one instance serves one run of Pulumi."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    # The method names are the protocol's own.

    def GetSchema(self, request: Any, context: Any) -> Any:
        return provider_pb2.GetSchemaResponse(schema=json.dumps(SCHEMA))

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=VERSION)

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse()

    def Configure(self, request: Any, context: Any) -> Any:
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:
        inputs = _read(request.news)
        failures = [
            provider_pb2.CheckFailure(property=name, reason=reason)
            for name, reason in _faults(inputs)
        ]
        if not failures:
            inputs["sha256"] = _sha256(inputs)
        return provider_pb2.CheckResponse(inputs=_struct(inputs), failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        old, new = _read(request.olds), _read(request.news)
        changed = [
            name
            for name in (*INPUTS, "sha256")
            # How slow or failing an operation shall be changes no file.
            if name not in {"delaySeconds", "failWith"} and old.get(name) != new.get(name)
        ]
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME
            if changed
            else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=changed,
            replaces=["path"] if "path" in changed else [],
        )

    def Create(self, request: Any, context: Any) -> Any:
        inputs = _read(request.properties)
        if not request.preview:
            self._slowly(inputs, context)
            _write(inputs)
        return provider_pb2.CreateResponse(id=str(inputs["path"]), properties=_struct(inputs))

    def Read(self, request: Any, context: Any) -> Any:
        known = _read(request.properties)
        path = Path(str(known.get("path") or request.id))
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return provider_pb2.ReadResponse()
        found = known | {"path": str(path), "sha256": hashlib.sha256(content).hexdigest()}
        if "contentFromEnv" not in found:
            found["content"] = content.decode(errors="replace")
        if "mode" in found:
            found["mode"] = f"{path.stat().st_mode & 0o7777:04o}"
        return provider_pb2.ReadResponse(
            id=request.id, properties=_struct(found), inputs=_struct(found)
        )

    def Update(self, request: Any, context: Any) -> Any:
        inputs = _read(request.news)
        if not request.preview:
            self._slowly(inputs, context)
            _write(inputs)
        return provider_pb2.UpdateResponse(properties=_struct(inputs))

    def Delete(self, request: Any, context: Any) -> Any:
        self._slowly(_read(request.properties), context)
        Path(request.id).unlink(missing_ok=True)
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        self._cancelled.set()
        return empty_pb2.Empty()

    def _slowly(self, inputs: Mapping[str, Any], context: Any) -> None:
        """Wait and fail as the inputs ask; a cancelled wait has changed nothing."""
        delay_s = min(float(inputs.get("delaySeconds") or 0), LONGEST_DELAY_S)
        if delay_s and self._cancelled.wait(delay_s):
            context.abort(grpc.StatusCode.CANCELLED, "cancelled before the file was changed")
        if inputs.get("failWith"):
            context.abort(grpc.StatusCode.UNKNOWN, str(inputs["failWith"]))


def serve() -> None:
    """Serve until Pulumi ends, telling the port on standard output, as Pulumi asks."""
    server = grpc.server(futures.ThreadPoolExecutor(THREADS))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(LocalFile(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)  # noqa: T201 - how Pulumi learns of it
    server.wait_for_termination()


def _read(struct: Any) -> dict[str, Any]:
    return dict(json_format.MessageToDict(struct))


def _struct(values: Mapping[str, Any]) -> Any:
    struct = struct_pb2.Struct()
    struct.update(dict(values))
    return struct


def _faults(inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    faults = [(name, "there is no such input") for name in inputs if name not in INPUTS]
    if not str(inputs.get("path", "")).startswith("/"):
        faults.append(("path", "an absolute path belongs here"))
    if ("content" in inputs) == ("contentFromEnv" in inputs):
        faults.append(("content", "needs one of content and contentFromEnv"))
    variable = inputs.get("contentFromEnv")
    if variable is not None and variable not in os.environ:
        faults.append(("contentFromEnv", f"the variable {variable} is not set"))
    try:
        int(str(inputs.get("mode", "0644")), 8)
    except ValueError:
        faults.append(("mode", "is no octal number such as 0644"))
    return faults


def _content(inputs: Mapping[str, Any]) -> bytes:
    variable = inputs.get("contentFromEnv")
    text = os.environ.get(str(variable), "") if variable else str(inputs.get("content", ""))
    return text.encode()


def _sha256(inputs: Mapping[str, Any]) -> str:
    return hashlib.sha256(_content(inputs)).hexdigest()


def _write(inputs: Mapping[str, Any]) -> None:
    """Write the file in one step: it has the old content or the new, never half of it."""
    path = Path(str(inputs["path"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(_content(inputs))
    temporary.chmod(int(str(inputs.get("mode", "0644")), 8))
    temporary.replace(path)
