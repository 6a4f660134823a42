"""What can stop a command: an error with parts, joined into one sentence for an operator."""

import errno
import os
import resource
from typing import Self, TypedDict, Unpack

RETRY = "Run the same command again to finish the job."
"""Said only where that helps."""

NOTHING_CHANGED = "Nothing was changed."
"""What a command that could not start, or that only reads, leaves."""


def file_limit() -> str:
    """The limit on the size of files as a clause to append, empty where there is none."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if most == resource.RLIM_INFINITY:
        return ""
    return f"; `ulimit -f` lets no file grow beyond `{most:,}` bytes"


def system_says(error: OSError) -> str:
    """The system's own words, with the limit that kept a file from growing.

    Arrow puts words of its own around them.
    """
    if not error.errno:
        return error.strerror or str(error).split("\n")[0]
    return os.strerror(error.errno) + (file_limit() if error.errno == errno.EFBIG else "")


class Parts(TypedDict):
    """The parts of an error."""

    what: str
    why: str | None
    unchanged: str | None
    advice: str | None
    retry: bool


class SomeParts(TypedDict, total=False):
    """Some of the parts of an error."""

    what: str
    why: str | None
    unchanged: str | None
    advice: str | None
    retry: bool


class CeramicOrderError(Exception):
    """A command can't go on. `exit_code` is the documented exit code.

    The parts are joined in one place, `str(error)`: "what: why. unchanged advice retry". Values
    stand in backticks.
    """

    exit_code = 3

    def __init__(
        self,
        what: str,
        *,
        why: str | None = None,
        unchanged: str | None = None,
        advice: str | None = None,
        retry: bool = False,
    ) -> None:
        """An error with these parts.

        Args:
            what: what happened, a clause without a full stop: "Can't open `node.db`".
            why: the cause, likewise: "it is a directory".
            unchanged: what is as it was, or kept, as whole sentences: "Nothing was changed."
            advice: what to try next, as whole sentences.
            retry: whether running the same command again helps.
        """
        super().__init__(what, why, unchanged, advice, retry)
        self.what = what
        self.why = why
        self.unchanged = unchanged
        self.advice = advice
        self.retry = retry

    def __str__(self) -> str:
        """All parts, as a person reads them."""
        rest = (self.unchanged, self.advice, RETRY if self.retry else None)
        return " ".join([f"{self.clause()}.", *(part for part in rest if part)])

    def clause(self) -> str:
        """What happened and why, as one clause."""
        return self.what if self.why is None else f"{self.what}: {self.why}"

    def __reduce__(self) -> tuple[object, ...]:
        """Parts cross processes as they are."""
        return _rebuilt, (type(self), self.parts())

    def parts(self) -> Parts:
        """The parts by name, null where there is none."""
        return Parts(
            what=self.what,
            why=self.why,
            unchanged=self.unchanged,
            advice=self.advice,
            retry=self.retry,
        )

    def replaced(self, **some: Unpack[SomeParts]) -> Self:
        """The same error with some other parts."""
        parts = self.parts()
        parts.update(some)
        return type(self)(**parts)

    def to_json(self) -> dict[str, object]:
        """What stands under `error` in the document of `--json`."""
        return {"exit_code": self.exit_code, "message": str(self), **self.parts()}


def _rebuilt(kind: type[CeramicOrderError], parts: Parts) -> CeramicOrderError:
    return kind(**parts)


class CannotStartError(CeramicOrderError, ValueError):
    """The input can't be used; nothing has been created or changed."""

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        why: str | None = None,
        unchanged: str | None = NOTHING_CHANGED,
        advice: str | None = None,
        retry: bool = False,
    ) -> None:
        """As for the base class; `unchanged` has its usual words."""
        super().__init__(what, why=why, unchanged=unchanged, advice=advice, retry=retry)


class InterruptedRunError(CeramicOrderError, RuntimeError):
    """The command stopped midway; whole batches are kept and running again is safe.

    Code that a run calls raises it without saying what is kept; `flows.jobs.runner` adds that.
    """


class DefectError(CeramicOrderError, RuntimeError):
    """Something that nobody has foreseen: a defect of ceramic-order, not of its input."""

    exit_code = 70
