"""What a check of training data found, for people and for the code that must not go on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from mull.training.data.kinds import Kind
from mull.training.errors import TrainingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong, in all rows that have it."""

    what: str
    fatal: bool
    """Whether training must not start."""
    rows: int
    lines: Sequence[int]
    """The first few; none when the fault is one of the file as a whole."""

    @property
    def where(self) -> str:
        """The lines as text."""
        return ", ".join(map(str, self.lines)) + (", ..." if self.rows > len(self.lines) else "")

    def __str__(self) -> str:
        name = "error" if self.fatal else "warning"
        if not self.lines:
            return f"{name}: {self.what}"
        counted = f"{self.rows} rows, lines" if self.rows > 1 else "line"
        return f"{name}: {self.what} ({counted} {self.where})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check found. `str` and rich print it."""

    path: Path
    kind: Kind
    rows: int
    faults: tuple[Fault, ...]
    """Fatal ones first, then those of most rows."""

    @property
    def fatal(self) -> bool:
        """Whether training must not start."""
        return any(fault.fatal for fault in self.faults)

    @property
    def verdict(self) -> str:
        """One line."""
        return f"{self.path}: {self.rows} rows of kind {self.kind}, {'not ' if self.fatal else ''}fit to use"

    def require(self) -> None:
        """Go on only with data that are fit.

        Raises:
            TrainingError: there is a fatal fault; the message lists all.
        """
        if self.fatal:
            raise TrainingError(str(self), param="data")

    def __str__(self) -> str:
        return "\n  ".join([self.verdict, *map(str, self.faults)])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.verdict)
        if self.faults:
            table = Table("", "rows", "what", "lines")
            for fault in self.faults:
                name = Text("error", "red") if fault.fatal else Text("warning", "yellow")
                table.add_row(name, str(fault.rows), Text(fault.what), fault.where if fault.lines else "")
            yield table
