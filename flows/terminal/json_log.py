"""`--log json`: what goes to stderr as one JSON object a line, through the logging module.

Every object has `time` (UTC), `level` and `event`; flows/cli/README.md lists the rest.
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from flows.terminal import console, signals
from operators.encoding.cid import cid_text

LOGGER = logging.getLogger("ceramic_order")
"""The logger; a program that uses ceramic-order as a library can add handlers to it."""


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, object] = getattr(record, "fields", {})
        return line(record.levelname.lower(), record.getMessage(), fields, record.created)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at that moment: a running flow replaces it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 # logging's name
        """A stderr that takes nothing is no error, as for plain lines."""


def use_json_log() -> None:
    """Write all that goes to stderr from now on as JSON lines."""
    handler = _Stderr(sys.stderr)
    handler.setFormatter(_Formatter())
    LOGGER.handlers[:] = [handler]
    LOGGER.propagate = False
    LOGGER.setLevel(logging.INFO)
    console.log_to(log)
    signals.format_with(lambda text: line("warning", "stopped", {"message": text}, None))


def log(level: str, event: str, fields: Mapping[str, object]) -> None:
    """Write one object."""
    LOGGER.log(logging.getLevelNamesMapping()[level.upper()], event, extra={"fields": fields})


def line(level: str, event: str, fields: Mapping[str, object], created: float | None) -> str:
    """One object; `created` is in seconds since 1970, None: now."""
    moment = datetime.now(UTC) if created is None else datetime.fromtimestamp(created, UTC)
    document = {
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level,
        "event": event,
        **fields,
    }
    return json.dumps(document, default=_as_text)


def _as_text(value: object) -> str:
    """CIDs as base32, anything else as it is shown."""
    return cid_text(value) if isinstance(value, bytes) else str(value)
