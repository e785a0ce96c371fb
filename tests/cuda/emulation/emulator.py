"""Compile CUDA C++ with g++ and run it on the CPU (tests only).

    m = Module("sgemm.cu")                        # or Module(code=...)
    m.launch("sgemm", grid, block, (a, b, c, np.int32(n)), shared_mem=0, seed=0)

mode: "fast"  plain -O2;  "check"  every access checked (bounds, races, const, uninitialised shared memory);
      "asan"  AddressSanitizer + UBSan: start Python with LD_PRELOAD=$(g++ -print-file-name=libasan.so).
"""

import ctypes, hashlib, os, pathlib, re, subprocess
import numpy as np

HERE = pathlib.Path(__file__).parent
CACHE = pathlib.Path(os.environ.get("MINIGEN_EMULATION_CACHE", str(pathlib.Path(__file__).parent / "build")))
COMMON = ["-std=c++17", "-g", "-fPIC", "-fno-strict-aliasing", "-fvisibility=hidden"]
MODES = {
    "fast": ["-O2", "-ffp-contract=off"],
    "check": [
        "-O1",
        "-fsanitize=thread,bounds,alignment,shift,signed-integer-overflow,integer-divide-by-zero",
        "-fno-tree-loop-distribute-patterns",
        "-fno-tree-vectorize",
    ],
    "asan": [
        "-O1",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-fsanitize-sections=emu_shared",
        "-ftrivial-auto-var-init=pattern",
        "-DEMU_ASAN",
    ],
}


class EmulatorError(RuntimeError):
    pass


class Range(ctypes.Structure):
    _fields_ = [
        ("begin", ctypes.c_size_t),
        ("end", ctypes.c_size_t),
        ("writable", ctypes.c_int),
        ("grain", ctypes.c_int),
    ]


class Stats(ctypes.Structure):
    _fields_ = [
        (n, ctypes.c_uint64)
        for n in (
            "global_read",
            "global_write",
            "shared_read",
            "shared_write",
            "atomics",
            "barriers",
            "collectives",
            "switches",
        )
    ]

    def as_dict(self):
        return {n: getattr(self, n) for n, _ in self._fields_}


def _extent(a):
    """Where the memory of an array begins and ends."""
    begin = a.ctypes.data
    return begin, begin + (sum((n - 1) * abs(s) for n, s in zip(a.shape, a.strides)) + a.itemsize if a.size else 0)


def _pointed_into(table, allocations):
    """The ranges of those allocations that the addresses in a table lie in: a kernel may read and write them."""
    allocations = sorted((*_extent(a), min(4, a.itemsize)) for a in allocations)
    at = np.searchsorted(np.array([begin for begin, _, _ in allocations], np.uint64), table.ravel(), "right") - 1
    hit = [(allocations[i], address) for i, address in zip(at.tolist(), table.ravel().tolist()) if i >= 0]
    return [Range(begin, end, 1, grain) for (begin, end, grain), address in hit if address < end]


def _disjoint(ranges):
    """The ranges, joined where they overlap: one array may be passed twice, or with a view of itself."""
    joined = []
    for r in sorted(ranges, key=lambda r: r.begin):
        last = joined[-1] if joined else None
        if last and r.begin < last.end:
            joined[-1] = Range(last.begin, max(last.end, r.end), last.writable | r.writable, min(last.grain, r.grain))
        else:
            joined.append(r)
    return joined


def _run(command):
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode:
        raise EmulatorError(f"{' '.join(map(str, command))}\n{p.stderr[:4000]}")


def _cached(key, suffix, build):
    path = CACHE / (hashlib.sha256(key.encode()).hexdigest()[:16] + suffix)
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        tmp = path.with_name(f"{path.name}.{os.getpid()}")
        build(tmp)
        tmp.rename(path)
    return path


def translate(source):
    """The two things a macro cannot do; line numbers are kept. Returns (C++ text, kernel names)."""
    source = re.sub(
        r"extern\s+__shared__\s+(?:__align__\(\d+\)\s+)?([\w:<>\s]+?)\s*(\w+)\s*\[\s*\]\s*;",
        r"EMU_DYNAMIC_SHARED(\1, \2)",
        source,
    )
    names = re.findall(r'extern\s+"C"\s+__global__[^;{(]*?(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(', source)
    return source, names


class Module:
    def __init__(self, path=None, code=None, options=(), name_expressions=(), mode="fast", include=()):
        path = pathlib.Path(path) if path else None
        source = code if code is not None else path.read_text()
        text, names = translate(source)
        tail = "".join(f"\nEMU_KERNEL({n}, {n})" for n in names)
        self.symbols = {n: n for n in names}
        for e in name_expressions:  # template instances, as in cupy.RawModule
            self.symbols[e] = "t" + hashlib.md5(e.encode()).hexdigest()[:12]
            tail += f"\nEMU_KERNEL({self.symbols[e]}, {e})"
        where = f'#line 1 "{path.resolve() if path else "<code>"}"\n'
        includes = [f"-I{HERE / 'include'}", *([f"-I{path.parent}"] if path else []), *(f"-I{i}" for i in include)]
        headers = "".join(
            p.read_text()
            for d in [HERE, HERE / "include", *([path.parent] if path else [])]
            for p in sorted(d.glob("*.[hc]*"))
            if p.suffix in (".h", ".cuh", ".cpp")
        )
        flags = COMMON + MODES[mode] + list(options)
        runtime_flags = COMMON + ["-O2"] + (["-DEMU_ASAN"] if mode == "asan" else [])
        runtime = _cached(
            headers + str(runtime_flags),
            ".o",
            lambda out: _run(["g++", *runtime_flags, "-c", HERE / "runtime.cpp", "-o", out]),
        )

        def build(out):
            cpp = out.with_suffix(".cpp")
            cpp.write_text(where + text + tail.replace("\n", "\n", 1) + "\n")
            obj = out.with_suffix(".o")
            _run(["g++", *flags, "-include", HERE / "cuda_emu.h", *includes, "-c", cpp, "-o", obj])
            link = ["-fsanitize=address,undefined"] if mode == "asan" else []
            _run(["g++", "-shared", *link, obj, runtime, "-o", out])

        self.so = _cached(headers + text + tail + str(flags), ".so", build)
        self.mode, self.lib = mode, ctypes.CDLL(str(self.so))
        self.lib.emu_fault_address.restype = ctypes.c_uint64

    def signature(self, name):
        f = self.lib[f"emu_signature_{self.symbols[name]}"]
        f.restype = ctypes.c_char_p
        return f().decode().rstrip(",").split(",")

    def launch(self, name, grid, block, args, shared_mem=0, seed=0, allocations=()):
        """args: numpy arrays for pointers, numpy scalars of exactly the parameter's type for the rest.

        A parameter `const unsigned long long*` is a table of addresses: what it points to among the `allocations`, the
        arrays that there are on the device, may be read and written too.
        """
        codes = self.signature(name)
        if len(args) != len(codes):
            raise TypeError(f"{name}() takes {len(codes)} arguments, got {len(args)}: {codes}")
        grid, block = (tuple(map(int, g)) + (1,) * (3 - len(g)) for g in (grid, block))
        if not 0 < block[0] * block[1] * block[2] <= 1024 or block[2] > 64:
            raise ValueError(f"block {block}: at most 1024 threads")
        if min(grid) < 1 or grid[1] > 65535 or grid[2] > 65535:
            raise ValueError(f"grid {grid}: 1 <= size, y and z <= 65535")
        cells, ranges = [], []
        for i, (a, c) in enumerate(zip(args, codes)):
            if c.endswith("*"):
                if isinstance(a, np.uint64) and a == 0:  # a null pointer
                    cells.append(ctypes.c_void_p(0))
                    continue
                if not isinstance(a, np.ndarray):
                    raise TypeError(f"{name}() argument {i}: expected an array for {c}, got {type(a).__name__}")
                kind = {"f": "f", "i": "i", "u": "ub"}.get(c[1])
                if kind and c[2:-1] != "1" and (a.dtype.kind not in kind or a.dtype.itemsize != int(c[2:-1])):
                    raise TypeError(f"{name}() argument {i}: array of {a.dtype} for {c}")
                begin, end = _extent(a)
                ranges.append(Range(begin, end, c[0] == "m", min(4, a.itemsize)))
                if c == "cu8*" and self.mode == "check":
                    ranges += _pointed_into(a, allocations)
                cells.append(ctypes.c_void_p(begin))
            elif c[0] == "x":  # a struct, by value
                if not isinstance(a, np.ndarray) or a.dtype.names is None or a.size != 1 or a.itemsize != int(c[1:]):
                    raise TypeError(f"{name}() argument {i}: a struct of {c[1:]} bytes, got {a!r}")
                cells.append(ctypes.create_string_buffer(a.tobytes()))
            else:
                if not isinstance(a, (np.generic, bool)):
                    raise TypeError(f"{name}() argument {i}: pass a numpy scalar for {c}, not {type(a).__name__}")
                a = np.asarray(a)
                code = {"b": "u", "f": "f", "i": "i", "u": "u"}[a.dtype.kind] + str(a.dtype.itemsize)
                if code != c:
                    raise TypeError(f"{name}() argument {i}: {a.dtype} ({code}) for parameter {c}")
                cells.append(ctypes.create_string_buffer(a.tobytes()))
        pointers = (ctypes.c_void_p * max(len(cells), 1))(*[ctypes.addressof(c) for c in cells])
        ranges = _disjoint(ranges)
        stats, message = Stats(), ctypes.create_string_buffer(4096)
        failed = self.lib.emu_launch(
            ctypes.cast(self.lib[f"emu_call_{self.symbols[name]}"], ctypes.c_void_p),
            pointers,
            (ctypes.c_uint * 6)(*grid, *block),
            ctypes.c_size_t(shared_mem),
            ctypes.c_uint64(seed),
            (Range * max(len(ranges), 1))(*ranges),
            len(ranges),
            int(self.mode == "check"),
            ctypes.byref(stats),
            message,
            ctypes.c_size_t(len(message)),
        )
        if failed:
            text, pc = message.value.decode(), self.lib.emu_fault_address()
            if pc and "deadlock" not in text:
                p = subprocess.run(["addr2line", "-e", self.so, hex(pc - 1)], capture_output=True, text=True)
                text += "\n  at " + p.stdout.strip()
            raise EmulatorError(f"{name}: {text}")
        return stats


LOGGED = np.dtype([("pc", "u8"), ("address", "u8"), ("bytes", "u4"), ("lane", "u4"), ("kind", "u4"), ("shared", "u4")])


def memory_report(module, run, block=0, warp=0):
    """Requests of one warp while run() launches: [(line, space, kind, bytes/lane, requests, cost, ideal)].

    cost and ideal are 32-byte sectors for global memory, passes over the 32 banks for shared memory.
    The k-th execution of an instruction by each lane is taken as one request (right when the warp does not diverge).
    """
    lib = module.lib
    lib.emu_log(ctypes.c_int64(block), ctypes.c_int64(warp))
    run()
    lib.emu_logged.restype = ctypes.c_size_t
    data = ctypes.c_void_p()
    n = lib.emu_logged(ctypes.byref(data))
    log = np.frombuffer(ctypes.string_at(data, n * LOGGED.itemsize), LOGGED)
    lib.emu_log(ctypes.c_int64(-1), ctypes.c_int64(0))
    seen, requests = {}, {}
    for pc, address, size, lane, kind, shared in log.tolist():
        k = seen[pc, lane] = seen.get((pc, lane), -1) + 1
        requests.setdefault((pc, k, size, kind, shared), []).append((lane, address))
    rows = {}
    for (pc, _, size, kind, shared), lanes in requests.items():
        if shared:  # 128 bytes a pass; lanes in groups of 32, 16 or 8
            cost, group = 0, 32 // max(1, size // 4)
            for g in range(0, 32, group):
                banks = {}
                for lane, a in lanes:
                    if g <= lane < g + group:
                        for w in range(a // 4, (a + size - 1) // 4 + 1):
                            banks.setdefault(w % 32, set()).add(w)
                cost += max((len(b) for b in banks.values()), default=0)
            ideal = len({lane // group for lane, _ in lanes})
        else:
            cost = len({s for _, a in lanes for s in range(a // 32, (a + size - 1) // 32 + 1)})
            ideal = -(-len({(a, size) for _, a in lanes}) * size // 32)
        r = rows.setdefault((pc, size, kind, shared), [0, 0, 0])
        r[0] += 1
        r[1] += cost
        r[2] += ideal
    lines = subprocess.run(
        ["addr2line", "-e", module.so], input="\n".join(hex(k[0] - 1) for k in rows), capture_output=True, text=True
    ).stdout.split("\n")
    merged = {}
    for line, ((_, size, kind, shared), r) in zip(lines, rows.items()):
        key = (
            line.split(" ")[0].rsplit("/", 1)[-1],
            "shared" if shared else "global",
            ("load", "store", "atomic")[kind],
            size,
        )
        m = merged.setdefault(key, [0, 0, 0])
        for i in range(3):
            m[i] += r[i]
    return [(*k, *v) for k, v in sorted(merged.items())]
