"""GPUs by name, with the figures of their makers' data sheets: memory, bandwidth, and the rates of dense products.

The figures name their sheets; they were compared with other pages in part, and not with every sheet itself.

A sheet states what a GPU could do at best. What share of it a run reaches is assumed elsewhere (`cost_model.py`). Rates with
"sparsity" are twice the dense ones and are not used. Float32 is the rate without TF32, which Laconic never turns on.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from laconic.doctor.memory_model import GIB
from laconic.errors import InputError
from laconic.system.text import brief


@dataclass(frozen=True, slots=True)
class Links:
    """How GPUs reach each other, in GB/s (10^9 bytes) one way: `inside_gb` is that of one GPU to the others of its machine,
    `between_gb` that of a whole machine of eight to other machines. `sheet` says where the figures are from."""

    inside_gb: float
    between_gb: float
    sheet: str


HOPPER = Links(
    450, 400, "H100 and H200 datasheets: NVLink, 900 GB/s both ways; DGX H100 datasheet: 8 ConnectX-7 at 400 Gb/s"
)
BLACKWELL = Links(900, 400, "DGX B200 datasheet: NVLink, 14.4 TB/s for eight both ways; 8 ConnectX-7 at 400 Gb/s")
AMPERE = Links(300, 200, "A100 datasheet: NVLink, 600 GB/s both ways; DGX A100 datasheet: 8 ConnectX-6 at 200 Gb/s")
PCIE_4 = Links(32, 25, "PCIe 4.0 x16: 64 GB/s both ways; one network card at 200 Gb/s is assumed")
PCIE_5 = Links(64, 50, "PCIe 5.0 x16: 128 GB/s both ways; one network card at 400 Gb/s is assumed")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its data sheet describes it: memory in GiB, bandwidth in TB/s (10^12 bytes), dense rates in TFLOP/s.

    `chip` is what the driver's name of the device holds, `sheet` the document with the figures, and `links` lead to other GPUs.
    """

    chip: str
    memory_gib: float
    bandwidth_tb: float
    bfloat16_tflops: float
    float32_tflops: float
    sheet: str
    links: Links

    @property
    def memory(self) -> int:
        """Bytes of memory."""
        return int(self.memory_gib * GIB)


GPUS: Mapping[str, Gpu] = {
    "h200": Gpu("H200", 141, 4.8, 989, 67, "NVIDIA H200 Tensor Core GPU datasheet, H200 SXM", HOPPER),
    "h100-80gb": Gpu("H100 80GB HBM3", 80, 3.35, 989, 67, "NVIDIA H100 Tensor Core GPU datasheet, H100 SXM", HOPPER),
    "h100-pcie": Gpu("H100 PCIe", 80, 2.0, 756, 51, "NVIDIA H100 PCIe GPU product brief", PCIE_5),
    "b200": Gpu("B200", 180, 8.0, 2250, 75, "NVIDIA DGX B200 datasheet, an eighth of its eight GPUs", BLACKWELL),
    "a100-80gb": Gpu("A100-SXM4-80GB", 80, 2.039, 312, 19.5, "NVIDIA A100 datasheet (1758950-r4), 80GB SXM", AMPERE),
    "a100-80gb-pcie": Gpu(
        "A100 80GB PCIe", 80, 1.935, 312, 19.5, "NVIDIA A100 datasheet (1758950-r4), 80GB PCIe", PCIE_4
    ),
    "a100-40gb": Gpu("A100-SXM4-40GB", 40, 1.555, 312, 19.5, "NVIDIA A100 datasheet (1758950-r4), 40GB SXM", AMPERE),
    "l40s": Gpu("L40S", 48, 0.864, 362, 91.6, "NVIDIA L40S datasheet", PCIE_4),
    "l4": Gpu("L4", 24, 0.3, 121, 30.3, "NVIDIA L4 datasheet", PCIE_4),
    "a10": Gpu("A10", 24, 0.6, 125, 31.2, "NVIDIA A10 datasheet", PCIE_4),
    "a6000": Gpu("RTX A6000", 48, 0.768, 154.8, 38.7, "NVIDIA RTX A6000 datasheet", PCIE_4),
    "rtx-3090": Gpu("GeForce RTX 3090", 24, 0.936, 71, 35.6, "NVIDIA Ampere GA102 whitepaper, appendix A", PCIE_4),
    "rtx-4090": Gpu(
        "GeForce RTX 4090", 24, 1.008, 165.2, 82.6, "NVIDIA Ada GPU architecture whitepaper, appendix A", PCIE_4
    ),
    "rtx-5090": Gpu(
        "GeForce RTX 5090", 32, 1.792, 209.5, 104.8, "NVIDIA RTX Blackwell architecture whitepaper", PCIE_5
    ),
}
"""By the name that `--gpu` takes. Consumer cards: bfloat16 products that are summed in float32."""


def known_gpu(name: str) -> str:
    """The name in the table of the GPU that a user names, in any capitals. Raises `InputError` that lists the known ones.

    >>> known_gpu("A100-80GB")
    'a100-80gb'
    """
    if name.lower() not in GPUS:
        raise InputError(f"--gpu: unknown GPU {brief(name)}; expected one of {', '.join(GPUS)}")
    return name.lower()


def find_gpu(name: str) -> Gpu:
    """The GPU that a user names. Raises the errors of `known_gpu`.

    >>> find_gpu("A100-80GB").memory_gib
    80
    """
    return GPUS[known_gpu(name)]


def name_of_device(device_name: str) -> str | None:
    """The name in the table of a device that the driver names; None if it is not in the table.

    A laptop's GPU is another chip than the card of its name, with less memory and bandwidth.

    >>> name_of_device("NVIDIA A100-SXM4-80GB"), name_of_device("NVIDIA A100X"), name_of_device("NVIDIA L40S")
    ('a100-80gb', None, 'l40s')
    >>> name_of_device("NVIDIA GeForce RTX 4090"), name_of_device("NVIDIA GeForce RTX 4090 Laptop GPU")
    ('rtx-4090', None)
    """
    words = device_name.removeprefix("NVIDIA ")
    return next((name for name, gpu in GPUS.items() if gpu.chip == words), None)
