"""cupy.cuda of the stand-in: one device that is never busy."""

import time
import types

from . import fake_array


class Device:
    compute_capability = "80"
    mem_info = 1 << 33, 1 << 33
    # Those of an A100. Tests may give it others, of another GPU.
    attributes = {"MultiProcessorCount": 108, "MaxSharedMemoryPerBlockOptin": 163 << 10}  # noqa: RUF012

    def __init__(self, device=None):
        self.id = int(device or 0)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def __eq__(self, other):  # and so, like CuPy's, not hashable
        return self.id == other.id

    def use(self):
        pass

    def synchronize(self):
        fake_array.stats["syncs"] += 1


class Stream:
    """Copies to other streams than the null one are put off for as long as may be: until something waits for them."""

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self._postponed = []

    def _postpone(self, copy):
        if self is Stream.null:
            copy()
        else:
            self._postponed.append(copy)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def use(self):
        return self

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        if self is Stream.null:
            event._happen()

    def synchronize(self):
        fake_array.stats["syncs"] += 1
        self.record()._happen()


Stream.null = Stream()


class Event:
    done = True

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self._postponed, self.time = [], None

    def record(self, stream=None):
        self.time = time.perf_counter()
        self._postponed = (stream or Stream.null)._postponed  # all that was put off on it before, and only that
        (stream or Stream.null)._postponed = []

    def _happen(self):
        for copy in self._postponed:
            copy()
        self._postponed = []

    def synchronize(self):
        fake_array.stats["syncs"] += 1
        self._happen()


def get_current_stream(device_id=-1):
    return Stream.null


def alloc_pinned_memory(size):
    return bytearray(size)


def get_elapsed_time(start_event, end_event):
    return 1e3 * (end_event.time - start_event.time)


def is_available():
    return True


runtime = types.SimpleNamespace(
    deviceSynchronize=Device().synchronize,
    getDeviceCount=lambda: 1,
    getDevice=lambda: 0,
    getDeviceProperties=lambda device: {"name": b"emulated"},
    driverGetVersion=lambda: 13000,
    runtimeGetVersion=lambda: 13000,
    CUDARuntimeError=RuntimeError,
)
