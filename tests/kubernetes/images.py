"""The suite's container images, made by the kit's `mkimages.py`, without a registry.

An image's tag is a digest of what is in it: what has changed is another image, and none is made
twice.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from paths import PROJECT, RUNNER_BIN, STUBS, TARGET, VENV

BUILD = TARGET / "kubernetes"
IMAGES = BUILD / "images"
# Of Python's own library, what no agent imports, or what needs libraries of its own.
LEFT_OUT = {
    "__pycache__", "config-3*", "ensurepip", "idlelib", "lib2to3", "site-packages",
    "dist-packages", "test", "tests", "tkinter", "turtledemo", "_tkinter*", "_test*", "_xx*",
}  # fmt: skip
# Of the suite's environment, what agents that speak gRPC import.
PACKAGES = ("google", "grpc", "typing_extensions.py")


@dataclass(frozen=True)
class Image:
    """An image that a pod can name, and the file that it is in."""

    name: str
    file: Path


def runner() -> Image:
    """`runner`, at /bin/runner, with the libraries that it is linked with, and nothing else."""
    with scratch() as root:
        program = Path(root, "bin", "runner")
        program.parent.mkdir()
        # Of a debug build nine parts in ten are symbols, which no test looks at.
        subprocess.run(["strip", "-o", program, RUNNER_BIN], check=True)
        libraries = sorted(linked([RUNNER_BIN]))
        contents = [(str(shared).lstrip("/"), shared) for shared in libraries]
        lay_out(root, contents)
        digest = digest_of(iter([("bin/runner", program), *contents]))
        return made("runner", digest, "--dir", root, command=["/bin/runner"])


def agents() -> Image:
    """A Python that has grpcio, the stubs and the agents of `tests/interop/project`:
    `/bin/python -m agents.random_agent` runs in any working directory."""
    contents = sorted(agents_contents())
    digest = digest_of(iter(contents))
    if (image := named("agents", digest)).file.exists():
        return image
    with scratch() as root:
        lay_out(root, contents)
        interpreter = Path(sys.executable).resolve()
        Path(root, "bin").mkdir(exist_ok=True)
        Path(root, "bin", "python").symlink_to(interpreter)
        # A pod's file system is new each time: without them, all of it would be compiled each time.
        subprocess.run(
            [
                sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
                "-s", root, "-p", "/", str(Path(root, *library().parts[1:])),
            ],
            env={key: value for key, value in os.environ.items() if key != "PYTHONPYCACHEPREFIX"},
            check=True,
        )  # fmt: skip
        return made("agents", digest, "--dir", root, command=["/bin/python"])


def agents_contents() -> Iterator[tuple[str, Path]]:
    """Where it is in the image, and where it comes from. Python stays where it is on this machine,
    as it and its libraries know where that is."""
    interpreter = Path(sys.executable).resolve()
    packages = library() / "site-packages"
    sources = [interpreter, *files(library())]
    yield from ((str(source).lstrip("/"), source) for source in sources)
    (environment,) = (VENV / "lib").glob("python3*/site-packages")
    parts = [(environment, environment / name) for name in PACKAGES]
    parts += [(STUBS, STUBS), (PROJECT, PROJECT / "agents")]
    for base, part in parts:
        for source in files(part):
            sources.append(source)
            yield str(packages / source.relative_to(base)).lstrip("/"), source
    programs = [interpreter, *(path for path in sources if ".so" in path.suffixes)]
    for shared in sorted(linked(programs)):
        yield str(shared).lstrip("/"), shared


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Where an image's files are put together."""
    BUILD.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=BUILD, prefix="root-")


def lay_out(root: str, contents: list[tuple[str, Path]]) -> None:
    for inside, source in contents:
        into = Path(root, inside)
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, into)


def library() -> Path:
    """Of the Python that this environment is made of."""
    return Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))


def files(top: Path) -> Iterator[Path]:
    if top.is_file():
        yield top
        return
    for path in sorted(top.iterdir()):
        if any(path.match(pattern) for pattern in LEFT_OUT):
            continue
        if path.is_dir():
            yield from files(path)
        elif path.is_file():
            yield path


def linked(programs: list[Path]) -> set[Path]:
    """The shared libraries that these are linked with, the loader among them: none of a static
    one."""
    done = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True)
    assert done.returncode == 0 or "not a dynamic executable" in done.stderr, done.stderr
    said = done.stdout
    missing = re.findall(r"^\s+(\S+) => not found", said, re.M)
    assert not missing, f"not on this machine: {missing}"
    return {Path(found) for found in re.findall(r"(?:=>\s+|^\s+)(/\S+) \(0x", said, re.M)}


def digest_of(contents: Iterator[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for inside, source in contents:
        digest.update(f"{inside}\0{source.stat().st_size}\0".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def named(name: str, digest: str) -> Image:
    return Image(f"runner.test/{name}:{digest}", IMAGES / f"runner.test_{name}_{digest}.tar")


def made(name: str, digest: str, *source: str, command: list[str]) -> Image:
    """The image, made unless it is there; those that it replaces go."""
    image = named(name, digest)
    if image.file.exists():
        return image
    kit = os.environ.get("K8S_KIT")
    if kit is None:
        pytest.skip("NOT TESTED: images cannot be made without the kit's mkimages.py (K8S_KIT)")
    for old in IMAGES.glob(f"runner.test_{name}_*.tar"):
        old.unlink()
    tool = [sys.executable, str(Path(kit) / "mkimages.py"), str(IMAGES), "--image", image.name]
    command = ["--", *command] if command else []
    subprocess.run([*tool, *source, *command], check=True, stdout=subprocess.DEVNULL)
    return image
