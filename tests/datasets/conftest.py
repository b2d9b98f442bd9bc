import struct
import sys
import zlib
from pathlib import Path

import pytest

# For the module here that is no test.
sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def write_png():
    """Write a PNG file of any kind and depth from its chunks, which Pillow does not."""

    def write(path, size, bits, kind, **chunks):
        head = struct.pack(">IIBBBBB", *size, bits, kind, 0, 0, 0)
        content = b"\x89PNG\r\n\x1a\n"
        for name, data in {"IHDR": head, **chunks, "IEND": b""}.items():
            part = name.encode() + data
            content += struct.pack(">I", len(data)) + part + struct.pack(">I", zlib.crc32(part))
        path.write_bytes(content)
        return path

    return write
