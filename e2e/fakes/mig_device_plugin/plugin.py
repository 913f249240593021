"""A device plugin for one resource: it offers the devices of the state file to the real kubelet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from e2e.fakes.gpus import Device, GpuState
from e2e.fakes.mig_device_plugin import deviceplugin_pb2 as api
from e2e.fakes.mig_device_plugin import deviceplugin_pb2_grpc as service

_POLL_S = 0.2
_OPTIONS = api.DevicePluginOptions(get_preferred_allocation_available=True)


class MigDevicePlugin(service.DevicePluginServicer):
    """Serves one resource on a socket of its own in the kubelet's folder."""

    def __init__(self, resource: str, state: GpuState, *, folder: Path) -> None:
        self._resource = resource
        self._state = state
        self._folder = folder
        self._socket = folder / f"{resource.replace('/', '_')}.sock"
        self._socket.unlink(missing_ok=True)
        self._server = grpc.server(ThreadPoolExecutor(8))
        service.add_DevicePluginServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{self._socket}")
        self._server.start()

    def register(self) -> None:
        """Tell the kubelet about this resource; a kubelet that is away raises grpc.RpcError."""
        request = api.RegisterRequest(
            version="v1beta1", endpoint=self._socket.name, resource_name=self._resource, options=_OPTIONS
        )
        with grpc.insecure_channel(f"unix:{self._folder / 'kubelet.sock'}") as channel:
            service.RegistrationStub(channel).Register(request, timeout=5)
        print(f"registered {self._resource}", flush=True)

    def stop(self) -> None:
        self._server.stop(0)

    def GetDevicePluginOptions(self, request: api.Empty, context: grpc.ServicerContext) -> api.DevicePluginOptions:  # noqa: ARG002, N802
        return _OPTIONS

    def ListAndWatch(self, request: api.Empty, context: grpc.ServicerContext) -> Iterator[api.ListAndWatchResponse]:  # noqa: ARG002, N802
        """Send the devices at once, then whenever the state file says something else."""
        yield from self._lists(still_wanted=context.is_active)

    def _lists(self, *, still_wanted: Callable[[], bool]) -> Iterator[api.ListAndWatchResponse]:
        last: list[Device] | None = None
        while still_wanted():
            devices = self._state.read().get(self._resource, [])
            if devices != last:
                last = devices
                print(
                    f"offer {self._resource}: {sum(device.healthy for device in devices)} of {len(devices)}", flush=True
                )
                yield api.ListAndWatchResponse(devices=[_message(device) for device in devices])
            time.sleep(_POLL_S)

    def GetPreferredAllocation(  # noqa: N802
        self,
        request: api.PreferredAllocationRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> api.PreferredAllocationResponse:
        """The first devices by name."""
        chosen = [
            api.ContainerPreferredAllocationResponse(deviceIDs=sorted(wish.available_deviceIDs)[: wish.allocation_size])
            for wish in request.container_requests
        ]
        return api.PreferredAllocationResponse(container_responses=chosen)

    def Allocate(self, request: api.AllocateRequest, context: grpc.ServicerContext) -> api.AllocateResponse:  # noqa: ARG002, N802
        """The variable that NVIDIA's plugin sets, and a device node, so that a pod can show what it got."""
        responses = [_allocated(list(container.devices_ids)) for container in request.container_requests]
        return api.AllocateResponse(container_responses=responses)

    def PreStartContainer(  # noqa: N802
        self,
        request: api.PreStartContainerRequest,  # noqa: ARG002
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> api.PreStartContainerResponse:
        return api.PreStartContainerResponse()


def _message(device: Device) -> api.Device:
    return api.Device(ID=device.uuid, health="Healthy" if device.healthy else "Unhealthy")


def _allocated(devices: list[str]) -> api.ContainerAllocateResponse:
    node = api.DeviceSpec(container_path="/dev/nvidiactl", host_path="/dev/null", permissions="rw")
    return api.ContainerAllocateResponse(envs={"NVIDIA_VISIBLE_DEVICES": ",".join(devices)}, devices=[node])
