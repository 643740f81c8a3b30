"""Peaks of known GPUs, and the share of a peak that a measured step reaches."""

#: Dense bfloat16 TFLOP/s with float32 sums, from the vendor's data sheets, by a part of the device's name.
BF16_PEAKS = {
    "A10": 125.0,
    "A100": 312.0,
    "A30": 165.0,
    "A40": 149.7,
    "B200": 2250.0,
    "GH200": 989.4,
    "H100": 989.4,  # SXM: "NVIDIA H100 80GB HBM3"
    "H100 NVL": 835.5,
    "H100 PCIe": 756.5,
    "H200": 989.4,
    "H200 NVL": 835.5,
    "L4": 121.0,
    "L40": 181.0,
    "L40S": 362.0,
    "RTX 3090": 71.0,
    "RTX 4090": 165.2,
    "RTX 6000 Ada": 364.2,
    "RTX A6000": 154.8,
}


def known_peak(device: str) -> float | None:
    """Bfloat16 TFLOP/s of a device by its name; None for an unknown one. The longest name that fits counts."""
    words = device.replace("-", " ").split()
    fitting = [name for name in BF16_PEAKS if _contains(words, name.split())]
    return BF16_PEAKS[max(fitting, key=len)] if fitting else None


def _contains(words: list[str], part: list[str]) -> bool:
    # Whole words: "L4" is no part of "L40S".
    return any(words[start : start + len(part)] == part for start in range(len(words)))


def share_of_peak(flops: float, seconds: float, peak: float | None) -> float | None:
    """Share of a peak in TFLOP/s that `flops` operations in `seconds` reach; None without a peak."""
    return flops / seconds / (peak * 1e12) if peak else None
