"""Lines of imported files: what each says, or why it can't go in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

Json: TypeAlias = dict[str, Any]


class SourceLine(NamedTuple):
    """A value to import and where it stands, e.g. ratings.csv:17."""

    where: str
    value: Json

    @property
    def file(self) -> str:
        """Return the name of its file."""
        return self.where.rpartition(":")[0]


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that doesn't go in. `given`: what it says, as far as it could be read."""

    file: str
    line: int | None
    """Counted from 1; None: the rest of the file."""
    field: str | None
    reason: str
    given: Any = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.reason}" if self.field is None else f"{where}: {self.field}: {self.reason}"

    @classmethod
    def at(cls, where: str, field: str | None, reason: str, given: Any = None) -> RefusedLine:
        """Refuse what stands at a place, e.g. ratings.csv:17."""
        file, _, line = where.rpartition(":")
        return cls(file, int(line), field, reason, given)


class SkippedLine(NamedTuple):
    """A line that an option leaves out: which one."""

    pattern: str
