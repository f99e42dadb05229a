"""What a forked engine must not share with the server it comes from."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
from collections.abc import Iterator

_this_thread = threading.local()


@contextlib.contextmanager
def engines() -> Iterator[None]:
    """Make processes that this thread forks meanwhile fit to be engines of this one.

    They let go of its network connections, which would stay open when it closes them; a Ctrl-C at the
    terminal is the server's to handle; and they end when it has died.
    """
    _register()
    _this_thread.parent = os.getpid()
    try:
        yield
    finally:
        _this_thread.parent = None


@functools.cache
def _register() -> None:
    os.register_at_fork(after_in_child=_become_engine)


def _become_engine() -> None:
    parent = getattr(_this_thread, "parent", None)
    if parent is None:
        return
    _this_thread.parent = None
    os.setpgid(0, 0)
    _drop_connections()
    threading.Thread(target=_end_with, args=(parent,), name="parent-watch", daemon=True).start()


def _drop_connections() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            with socket.socket(fileno=os.dup(number)) as copy:
                family = copy.family
            if family in (socket.AF_INET, socket.AF_INET6):
                # The number stays taken, for the objects that believe to own it.
                os.dup2(nothing, number)
    os.close(nothing)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
