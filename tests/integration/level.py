"""What tells an answer at our level (QEMU 8.2) from one of QEMU 7.2, as one function."""

# Names that 7.2 on x86 has not: the bits are among the unknown ones there.
LATER_NAMES = {"VIRTIO_F_RING_RESET": 40, "VIRTIO_MEM_F_ACPI_PXM": 0}

# ours -> 7.2's: the text of a bad path, and the human monitor's prefix, which is said once.
TEXTS = {
    " is not a realized VirtIODevice": " is not a VirtIODevice",
    "Error: vhost device has not started yet\r\n":
        "Error: Error: vhost device has not started yet\r\n",
}


def features(words):
    words, unknown = dict(words), words.get("unknown-dev-features", 0)
    for member in ("transports", "dev-features"):
        for text in words[member]:
            bit = LATER_NAMES.get(text.split(":")[0])
            if bit is not None:
                unknown |= 1 << bit
                words[member] = [kept for kept in words[member] if kept != text]
    return {**words, "unknown-dev-features": unknown} if unknown else words


def to_seven_two(value):
    """Our reply, or a part of one, as QEMU 7.2 would say it."""
    if isinstance(value, list):
        return [to_seven_two(item) for item in value]
    if isinstance(value, str):
        for ours, theirs in TEXTS.items():
            value = value.replace(ours, theirs)
        return value
    if not isinstance(value, dict):
        return value
    value = {key: to_seven_two(inner) for key, inner in value.items()}
    return features(value) if "transports" in value else value
