"""Generates the Python side of the files in `proto/` into the target directory.

Run as a program it builds them; imported, `build()` does, unless they are up to date. They are
never committed: the contract is the `.proto`, and whatever follows from it is made from it.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from paths import BUILD, PROTOS, STUBS


def build() -> Path:
    """Makes sure that the stubs are there and belong to the `.proto`; returns their directory."""
    digest = hashlib.sha256(b"".join(proto.read_bytes() for proto in PROTOS)).hexdigest()
    stamp = STUBS / "digest"
    if stamp.is_file() and stamp.read_text() == digest:
        return STUBS
    BUILD.mkdir(parents=True, exist_ok=True)
    # Built beside and renamed: whoever looks meanwhile sees the old ones or the new ones.
    fresh = Path(tempfile.mkdtemp(dir=BUILD, prefix="stubs-"))
    _generate(fresh)
    (fresh / "digest").write_text(digest)
    shutil.rmtree(STUBS, ignore_errors=True)
    fresh.rename(STUBS)
    return STUBS


def _generate(into: Path) -> None:
    from grpc_tools import protoc

    for proto in PROTOS:
        arguments = [
            "protoc",
            f"--proto_path={proto.parent}",
            f"--python_out={into}",
            f"--grpc_python_out={into}",
            proto.name,
        ]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"protoc could not read {proto.name}")


if __name__ == "__main__":
    build()
    sys.exit(0)
