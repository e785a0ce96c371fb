"""cupy.cuda of the stand-in: two devices that are never busy."""

import time
import types

from . import fake_array


class Device:
    compute_capability = "80"
    mem_info = 1 << 33, 1 << 33
    # Those of an A100. Tests may give it others, of another GPU.
    attributes = {"MultiProcessorCount": 108, "MaxSharedMemoryPerBlockOptin": 163 << 10}  # noqa: RUF012

    def __init__(self, device=None):
        self.id = fake_array.devices[-1] if device is None else int(device)

    def __enter__(self):
        fake_array.devices.append(self.id)
        return self

    def __exit__(self, *error):
        fake_array.devices.pop()

    def __eq__(self, other):  # and so, like CuPy's, not hashable
        return self.id == other.id

    def use(self):
        fake_array.devices[-1] = self.id

    def synchronize(self):
        fake_array.stats["syncs"] += 1


class Stream:
    """Copies to other streams than the null one are put off for as long as may be: until something waits for them."""

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self._postponed = []
        self._device = None if null else fake_array.devices[-1]  # each device has a null stream

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


Stream.null = Stream(null=True)


class Event:
    done = True

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self._postponed, self.time = [], None
        self._device = fake_array.devices[-1]

    def record(self, stream=None):
        stream = stream or Stream.null
        if self._device != (fake_array.devices[-1] if stream is Stream.null else stream._device):
            raise RuntimeError("cudaErrorInvalidResourceHandle: the event and the stream are of different devices")
        self.time = time.perf_counter()
        self._postponed, stream._postponed = stream._postponed, []  # all that was put off on it before, and only that

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
    getDeviceCount=lambda: 2,
    getDevice=lambda: fake_array.devices[-1],
    getDeviceProperties=lambda device: {"name": b"emulated"},
    driverGetVersion=lambda: 13000,
    runtimeGetVersion=lambda: 13000,
    CUDARuntimeError=RuntimeError,
)
