"""The firmware update service: functions in the framing of Trusted Services 1.2, carried out by the agent.

The service opcode is ignored, as the reference does. What opening is for (``op_type``) is as well: the reference's
client says reading when it installs.
"""

from __future__ import annotations

from typing import Final

from edgeroot.abi import fwu
from edgeroot.abi.fwu import FwuFunction, FwuStatus
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.services import FIRMWARE_UPDATE
from edgeroot.secure.partitions.firmware_update.agent import FwuError, UpdateAgent
from edgeroot.secure.runtime.api import Caller, Reply, Service

_READ_OVERHEAD_BYTES: Final = 12  # the status, and two lengths


class FirmwareUpdateService(Service):
    """One service over one agent. Streams belong to the source, not to the channel: a tool may come again."""

    uuid = FIRMWARE_UPDATE

    def __init__(self, agent: UpdateAgent) -> None:
        self._agent = agent

    def call(self, caller: Caller, opcode: int, request: bytes, *, capacity_bytes: int) -> Reply:
        function, payload = fwu.decode_request(request)
        operation = fwu.OPERATIONS.get(function)
        if operation is None:
            raise RpcError(RpcStatus.INVALID_VALUE, f"function {function}")
        arguments = operation.request.decode(payload)
        self._agent.recover()
        try:
            response = self._answer(caller.source_id, function, arguments, capacity_bytes)
        except FwuError as error:
            return Reply(error.status, fwu.encode_response(error.status))
        return Reply(FwuStatus.SUCCESS, fwu.encode_response(FwuStatus.SUCCESS, operation.response.encode(response)))

    def _answer(self, source_id: int, function: int, arguments: object, capacity_bytes: int) -> object:
        agent = self._agent
        match arguments:
            case fwu.BeginStagingRequest():
                agent.begin_staging(arguments.partial_update)
            case fwu.OpenRequest():
                return fwu.OpenResponse(agent.open(source_id, arguments.image_type))
            case fwu.WriteStreamRequest():
                agent.write_stream(source_id, arguments.handle, arguments.data)
            case fwu.ReadStreamRequest():
                room_bytes = max(0, capacity_bytes - _READ_OVERHEAD_BYTES)
                data, total_bytes = agent.read_stream(source_id, arguments.handle, room_bytes)
                return fwu.ReadStreamResponse(total_bytes, data)
            case fwu.CommitRequest():
                agent.commit(source_id, arguments.handle, accepted=arguments.acceptance_req == 0)
                return fwu.CommitResponse(progress=1, total_work=1)
            case fwu.AcceptImageRequest():
                agent.accept_image(arguments.image_type)
        match function:
            case FwuFunction.DISCOVER:
                return fwu.DiscoverResponse(functions=tuple(fwu.OPERATIONS))
            case FwuFunction.END_STAGING:
                agent.end_staging()
            case FwuFunction.CANCEL_STAGING:
                agent.cancel_staging()
            case FwuFunction.SELECT_PREVIOUS:
                agent.select_previous()
        return fwu.EmptyResponse()
