"""Streams that may use some SMs only: CUDA's green contexts, asked of the driver through NVIDIA's own bindings."""

from __future__ import annotations

from typing import Any

NON_BLOCKING, DEFAULT_STREAM = 1, 1
"""CU_STREAM_NON_BLOCKING, CU_GREEN_CTX_DEFAULT_STREAM."""


def streams(sms: int, count: int) -> list[Any]:
    """Return `count` streams, each on `sms` SMs of its own; bandwidth and L2 are shared."""
    import torch
    from cuda.bindings import driver  # type: ignore[import-not-found]

    torch.zeros(1, device="cuda")  # the primary context, which torch and TensorRT use
    device = _of(driver.cuDeviceGet(0))
    whole = _of(driver.cuDeviceGetDevResource(device, driver.CUdevResourceType.CU_DEV_RESOURCE_TYPE_SM))
    groups, made, *_ = _all(driver.cuDevSmResourceSplitByCount(count, whole, 0, sms))
    if made < count:
        raise RuntimeError(f"the GPU gives {made} groups of {sms} SMs, {count} are wanted")
    return [torch.cuda.ExternalStream(_stream(driver, device, group)) for group in groups[:count]]


def _stream(driver: Any, device: Any, group: Any) -> int:
    described = _of(driver.cuDevResourceGenerateDesc([group], 1))
    context = _of(driver.cuGreenCtxCreate(described, device, DEFAULT_STREAM))
    return int(_of(driver.cuGreenCtxStreamCreate(context, NON_BLOCKING, 0)))


def _all(answer: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what the driver gave; its first item is an error."""
    error, *given = answer
    if int(error):
        raise RuntimeError(f"CUDA's driver: {error.name}")
    return tuple(given)


def _of(answer: tuple[Any, ...]) -> Any:
    return _all(answer)[0]
