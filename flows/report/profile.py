"""The profile of a run: where its time went, by stage and over time.

A stage is measured a batch at a time, on the thread that does it: the seconds that passed and the
processor time that this thread used. What a stage does within another counts as its own only, so
the seconds of one thread never add up to more than the run's.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.errors import InterruptedRunError
from flows.report.output_file import write_whole
from operators.schemas import Measured

SLOTS = 200
"""Of the timeline, at the most: as many as a picture can show."""

FIRST_SLOT_SECONDS = 0.01
"""Doubles whenever a run has lasted longer than all slots."""

PROCESS = "process"
"""The row of the timeline for the processor time of all threads, those of Arrow and Bytewax
included."""


@dataclass
class Stage:
    """What one stage has taken, over all threads that did it."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    calls: int = 0
    rows: int = 0
    first_done: float | None = None
    """Seconds from the begin of the run to the end of the stage's first call."""


@dataclass
class Timeline:
    """Seconds by name, in equal slots from the begin of a run on. When it has lasted longer than SLOTS of them, two become one."""

    slot_seconds: float = FIRST_SLOT_SECONDS
    rows: dict[str, list[float]] = field(default_factory=dict)
    end: float = 0.0

    def add(self, name: str, start: float, end: float, seconds: float) -> None:
        """Spread `seconds` evenly over the time from `start` to `end`, both in seconds since the run began."""
        self.end = max(self.end, end)
        while end >= SLOTS * self.slot_seconds:
            self.slot_seconds *= 2
            for row in self.rows.values():
                row[:] = [one + other for one, other in zip(row[::2], row[1::2], strict=True)] + [
                    0.0
                ] * (SLOTS // 2)
        row = self.rows.setdefault(name, [0.0] * SLOTS)
        share = seconds / (end - start) if end > start else 0.0
        for slot in range(
            int(start / self.slot_seconds), min(int(end / self.slot_seconds), SLOTS - 1) + 1
        ):
            row[slot] += share * (
                min(end, (slot + 1) * self.slot_seconds) - max(start, slot * self.slot_seconds)
            )

    def to_json(self) -> dict[str, Any]:
        """The slots that the run has reached, in seconds of each slot."""
        slots = int(self.end / self.slot_seconds) + 1
        rows = {
            name: [round(seconds, 6) for seconds in row[:slots]] for name, row in self.rows.items()
        }
        return {
            "slot_seconds": self.slot_seconds,
            "cpu_seconds": rows.pop(PROCESS, [0.0] * slots),
            "busy_seconds": rows,
        }


class _Open(threading.local):
    """The stages that this thread is in, the innermost last, and since when that one has been on its own."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.wall = self.cpu = 0.0


class Profile:
    """Measures one run in this process, from now on. All threads share it."""

    def __init__(self) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()
        self._sampled, self._cpu_sampled = self._began, self._cpu_began
        self._stages: dict[str, Stage] = {}
        self._timeline = Timeline()
        self._open = _Open()
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, stage: str, rows: int) -> Iterator[Measured]:
        """Measure a stage while the block runs; a `operators.schemas.Measure`."""
        mine = self._open
        self._turn()
        mine.stages.append(stage)
        measured = Measured(rows)
        try:
            yield measured
        finally:
            self._turn(measured)
            mine.stages.pop()

    def _turn(self, ended: Measured | None = None) -> None:
        """Count what this thread's innermost stage has taken since the last turn; at its end, its call too."""
        mine, wall, cpu = self._open, time.perf_counter(), time.thread_time()
        if mine.stages:
            with self._lock:
                self._count(mine.stages[-1], mine.wall, wall, cpu - mine.cpu, ended)
        mine.wall, mine.cpu = wall, cpu

    def _count(
        self, name: str, start: float, end: float, cpu_seconds: float, ended: Measured | None
    ) -> None:
        stage = self._stages.setdefault(name, Stage())
        stage.seconds += end - start
        stage.cpu_seconds += cpu_seconds
        self._timeline.add(name, start - self._began, end - self._began, end - start)
        self._sample(end)
        if ended is not None:
            stage.calls += 1
            stage.rows += ended.rows
            stage.first_done = end - self._began if stage.first_done is None else stage.first_done

    def _sample(self, now: float) -> None:
        # turns of several threads may come a little out of order
        if now <= self._sampled:
            return
        cpu = time.process_time()
        self._timeline.add(
            PROCESS, self._sampled - self._began, now - self._began, cpu - self._cpu_sampled
        )
        self._sampled, self._cpu_sampled = now, cpu

    def to_json(self) -> dict[str, Any]:
        """The document of `--profile` (flows/cli/README.md), as of now."""
        now = time.perf_counter()
        with self._lock:
            self._sample(now)
            seconds, cpu_seconds = now - self._began, self._cpu_sampled - self._cpu_began
            inside = sum(stage.cpu_seconds for stage in self._stages.values())
            return {
                "seconds": round(seconds, 6),
                "cpu_seconds": round(cpu_seconds, 6),
                "cores": round(cpu_seconds / seconds, 3),
                "stages": {name: _rounded(stage) for name, stage in self._stages.items()},
                "outside_stages_cpu_seconds": round(cpu_seconds - inside, 6),
                "timeline": self._timeline.to_json(),
            }


def _rounded(stage: Stage) -> dict[str, Any]:
    return {
        "seconds": round(stage.seconds, 6),
        "cpu_seconds": round(stage.cpu_seconds, 6),
        "calls": stage.calls,
        "rows": stage.rows,
        "first_done": None if stage.first_done is None else round(stage.first_done, 6),
    }


def write_profile(path: Path, document: dict[str, Any]) -> None:
    """Write a profile, in place of an earlier one.

    Raises:
        InterruptedRunError: the disk is full or fails.
    """
    try:
        write_whole(path, json.dumps(document) + "\n")
    except OSError as cause:
        raise InterruptedRunError(
            f"The run is complete, but its profile can't be written to `{path}`",
            why=f"{cause.strerror}",
            advice="Running again does no harm.",
        ) from cause
