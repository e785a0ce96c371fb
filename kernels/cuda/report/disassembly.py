"""Which instructions a kernel's machine code has, counted in what nvdisasm prints.

What is looked for tells whether a kernel does what it was written for:

    HMMA          a tensor core multiplies small matrices
    LDGSTS.128    16 bytes go from global to shared memory past the registers (cp.async)
    LDG.128       16 bytes come from global memory at once     STG.128  they go there
    LDSM          ldmatrix: four small matrices come from shared memory, laid out as HMMA takes them
    FFMA          float32 multiply-add                          BAR      all threads of a block wait for each other
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from functools import cache

from kernels.cuda.report.compiler import INSTALL, nvidias_packages

COUNTED = {
    "HMMA": r"HMMA",
    "LDGSTS.128": r"LDGSTS\S*\.128",
    "LDG.128": r"LDG\.\S*128",
    "STG.128": r"STG\.\S*128",
    "LDSM": r"LDSM",
    "FFMA": r"FFMA",
    "BAR": r"BAR\.(?:SYNC|RED|ARV)",
}
_START = r"^\s*(?:/\*\w+\*/)?\s*(?:@!?\w+\s+)?"  # of a line: the address, and the condition of the instruction
_PATTERNS = {name: re.compile(_START + pattern, re.MULTILINE) for name, pattern in COUNTED.items()}


def instruction_counts(cubin: bytes) -> dict[str, int]:
    """How often each of the instructions above stands in the code; how often it runs depends on the loops around it."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([nvdisasm(), "-c", file.name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"nvdisasm failed: {done.stderr}")
    return counts(done.stdout)


def counts(listing: str) -> dict[str, int]:
    return {name: len(pattern.findall(listing)) for name, pattern in _PATTERNS.items()}


@cache
def nvdisasm() -> str:
    packaged = [folder / "cu13/bin/nvdisasm" for folder in nvidias_packages()]
    found = next((str(path) for path in packaged if path.exists()), None) or shutil.which("nvdisasm")
    if not found:
        raise RuntimeError(f"nvdisasm is not installed: {INSTALL}")
    return found
