"""cupy.cuda of the stand-in: one device that is never busy."""

import time
from types import SimpleNamespace

from .fake_array import stats


class Device:
    compute_capability = "80"
    mem_info = 1 << 33, 1 << 33
    attributes = {"MultiProcessorCount": 4}  # noqa: RUF012

    def __init__(self, device=None):
        self.id = int(device or 0)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def __eq__(self, other):
        return self.id == other.id

    def __hash__(self):
        return self.id

    def use(self):
        pass

    def synchronize(self):
        stats["syncs"] += 1


class Stream:
    ptr = 0

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def use(self):
        return self

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        pass

    def synchronize(self):
        stats["syncs"] += 1


Stream.null = Stream()


class Event:
    done = True

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.time = None

    def record(self, stream=None):
        self.time = time.perf_counter()

    def synchronize(self):
        stats["syncs"] += 1


def get_current_stream(device_id=-1):
    return Stream.null


def get_elapsed_time(start_event, end_event):
    return 1e3 * (end_event.time - start_event.time)


def is_available():
    return True


runtime = SimpleNamespace(
    deviceSynchronize=Device().synchronize,
    getDeviceCount=lambda: 1,
    getDevice=lambda: 0,
    getDeviceProperties=lambda device: {"name": b"emulated"},
    driverGetVersion=lambda: 13000,
    runtimeGetVersion=lambda: 13000,
    CUDARuntimeError=RuntimeError,
)
