"""The one error a user is meant to read."""


class Refused(Exception):
    """Something was not accepted; nothing of it was used.

    `what` is the fact, `where` is a file with line, key or record, `fix` is what the reader can do.
    Printed on one line. Never carries the offending text of a log line: it may hold a prompt.
    """

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}; {self.fix}" if self.fix else head


class AllRefused(Refused):
    """Several reasons at once; as an exception it reads like the first."""

    def __init__(self, reasons: list[Refused]) -> None:
        self.reasons = reasons
        first = reasons[0]
        super().__init__(first.what, first.where, first.fix)


class Busy(Exception):
    """Another run holds the home (exit code 75)."""
