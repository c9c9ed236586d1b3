"""Tables of how long things took, kept beside the tests' other results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from images import BUILD


class Figures:
    """What happened, and some seconds each."""

    def __init__(self, what: str, *columns: tuple[str, int]) -> None:
        """Columns with their widths."""
        self.widths = [width for _, width in columns]
        self.lines = [f"{what:52}" + "".join(f"{title:>{width}}" for title, width in columns)]

    def add(self, what: str, *seconds: float) -> None:
        times = zip(seconds, self.widths, strict=True)
        self.lines.append(f"{what:52}" + "".join(f"{time:>{width}.2f}" for time, width in times))

    @contextmanager
    def kept(self, name: str) -> Iterator[Figures]:
        """Writes the table to this file once it is made, and shows it."""
        yield self
        text = "\n".join(self.lines) + "\n"
        (BUILD / name).write_text(text)
        print(f"\n{text}")
