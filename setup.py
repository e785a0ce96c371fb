from pathlib import Path

from setuptools import find_packages, setup

EXAMPLES = [
    "mlxtend>=0.23",
    "scikit-learn>=1.4",
    "scikit-image>=0.22",
    "scipy>=1.11",
    "constriction>=0.4",
    "tqdm>=4.66",
    "matplotlib>=3.8",
    "Pillow>=10.1",
    "tokenizers>=0.20",
    "graphviz>=0.20",
]
# NVRTC for python -m kernels.cuda.report, which needs no GPU: CUDA 13 has dropped sm_70, which CUDA 12 still knows.
REPORT = [
    "nvidia-cuda-nvrtc==13.5.*",
    "nvidia-cuda-runtime==13.5.*",
    "nvidia-cuda-nvdisasm==13.5.*",
    "nvidia-cuda-nvrtc-cu12==12.9.*",
    "nvidia-cuda-runtime-cu12==12.9.*",
]

setup(
    name="minigen",
    version="0.1.0",
    description="A small autograd engine on NumPy and CuPy arrays, with hand-written kernels, for generative models",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["minigen", "minigen.*", "kernels", "kernels.*"]),
    package_data={"minigen": ["py.typed"], "kernels": ["py.typed", "cuda/*.cu", "cuda/*.cuh"]},
    install_requires=["numpy>=2.0", "numba>=0.68,<0.69", "safetensors>=0.4.5"],
    extras_require={
        # ctk: NVRTC and CUDA's headers come along, and a GPU's driver is all that is needed besides
        "cuda12": ["cupy-cuda12x[ctk]>=14"],
        "cuda13": ["cupy-cuda13x[ctk]>=14"],
        "examples": EXAMPLES,
        "test": ["pytest>=8", "pytest-xdist>=3.7", "hypothesis>=6.100", "setuptools>=70.1", *EXAMPLES],
        "lint": ["ruff==0.17.6", "mypy==2.4.1"],
        "peers": ["torch>=2.4"],
        "report": REPORT,
    },
)
