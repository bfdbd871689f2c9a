"""Choose a device, control how exactly it computes, and find its memory."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import RLock
from typing import Any

import torch

from pixelpyramids.errors import ParameterError

_one_at_a_time = RLock()


def choose_device(name: str | None) -> torch.device:
    """`cpu`, `cuda`, or for None a GPU if torch finds one. Other devices are not used: they have no float64.

    Raises ParameterError if there is no such device.
    """
    if name not in (None, "cpu", "cuda"):
        raise ParameterError(f"expected the device cpu or cuda, got {name}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ParameterError("device cuda: torch finds no GPU here; leave the option out to use the CPU")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda")


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 in float32, on CPUs and GPUs, and restore the caller's settings at the end.

    TensorFloat-32 keeps 10 bits and bfloat16 keeps 7: too few for exact likelihoods. This turns off both, and
    autocast. It also sets the default dtype, which integers take when a float is subtracted from them. The settings
    belong to the process, so one thread at a time can do this, and others wait.
    """
    with _one_at_a_time, ExitStack() as settings:
        if hasattr(torch.backends, "fp32_precision"):
            # Each of these overrides those before it, or follows them if it is unset. If those before it are "ieee",
            # another value must have been set on it directly, so writing the value back restores it exactly.
            backends: Any = torch.backends
            for owner in (
                backends,
                backends.cudnn,
                backends.mkldnn,
                backends.cuda.matmul,
                backends.cudnn.conv,
                backends.mkldnn.matmul,
                backends.mkldnn.conv,
            ):
                if owner.fp32_precision != "ieee":
                    settings.callback(setattr, owner, "fp32_precision", owner.fp32_precision)
                    owner.fp32_precision = "ieee"
        else:  # before torch 2.9
            settings.callback(setattr, torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
            torch.backends.cudnn.allow_tf32 = False
            settings.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        settings.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                settings.enter_context(torch.autocast(device, enabled=False))
        yield


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether the processor or GPU multiplies bfloat16 natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def memory_of(device: torch.device) -> int:
    """The device's memory in bytes; for a CPU, that of the machine."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step: mapping new pages takes up to a tenth of a step on a CPU."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            m_trim_threshold, m_mmap_max = -1, -4
            mallopt(m_mmap_max, 0)
            mallopt(m_trim_threshold, 2**31 - 1)
