"""Numbers for tests/golden.h: a sequence of {char name[48], int64 size, float64[size]}."""
import os
import struct

ENTRIES = []


def put(name, x):
    """Of a tensor of any shape."""
    assert len(name) < 48, name
    ENTRIES.append((name, x.detach().double().contiguous().reshape(-1).tolist()))


def write(name):
    """The file beside this one, with all that was put."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    with open(path, "wb") as file:
        for entry, values in ENTRIES:
            file.write(struct.pack("<48sq", entry.encode(), len(values)))
            file.write(struct.pack(f"<{len(values)}d", *values))
    print(path, os.path.getsize(path), "bytes,", len(ENTRIES), "entries")
