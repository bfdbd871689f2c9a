"""Ctrl-C and SIGTERM: both interrupt a command, or set a flag so that a training can finish its step and save."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module

BOTH = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """Raised inside a network that should stop."""


@contextmanager
def interrupt_on_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a KeyboardInterrupt, and yield a function that says whether there was one.

    A second one kills the process. Signals that the parent process ignores (`nohup`, background jobs of a shell)
    stay ignored.
    """
    received: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        received.append(number)
        for each in BOTH:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        handled = [number for number in BOTH if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, interrupt) for number in handled}
    try:
        yield lambda: bool(received)
    finally:
        if not received:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def defer_interrupts(notify: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a flag that can be read between steps; a second signal interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if received:
            handler = before[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)
            raise KeyboardInterrupt
        received.append(number)
        notify(
            "finishing this step and saving; press Ctrl-C again to stop at once, and lose the steps since the last "
            "checkpoint"
        )

    before = {number: signal.signal(number, remember) for number in BOTH}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_between_layers(network: "Module", stop: Callable[[], bool]) -> Iterator[None]:
    """Call `stop` before each layer of the network, and raise Stopped if it returns True."""

    def check(*_: object) -> None:
        if stop():
            raise Stopped

    handles = [layer.register_forward_pre_hook(check) for layer in network.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def leave_interrupts_to_the_parent(_: int) -> None:
    """Ignore Ctrl-C in a loader's worker, because it ends when its parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
