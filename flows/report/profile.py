"""The profile of a run: where its time went, by stage and over time.

A stage is measured a batch at a time, on the thread that does it: the seconds that passed, and the
processor time that this thread used. A stage inside another counts for itself only, so the seconds
of one thread never add up to more than the run's.
"""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from connectors.errors import InterruptedRunError, system_says
from flows.report.output_file import write_whole
from operators.schemas import Measured

MOST_SLOTS = 200
"""The most slots of the timeline: as many as a picture can show."""

FIRST_SLOT_SECONDS = 0.01
"""Seconds of a slot at first, so that a run of a second fills half of the slots. They double
whenever the run has lasted longer than all slots together."""

PROCESS = "process"
"""The timeline's name for the processor time of all threads, those of Arrow and Bytewax too."""


@dataclass
class Stage:
    """What one stage has taken, over all threads that did it."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    calls: int = 0
    rows: int = 0
    first_done: float | None = None
    """Seconds from the start of the run to the end of the stage's first call."""


class StageDocument(TypedDict):
    """One stage in the document of `--profile` (flows/cli/README.md)."""

    seconds: float
    cpu_seconds: float
    calls: int
    rows: int
    first_done: float | None


class TimelineDocument(TypedDict):
    """The timeline in it: seconds of each slot."""

    slot_seconds: float
    cpu_seconds: list[float]
    busy_seconds: dict[str, list[float]]


class ProfileDocument(TypedDict):
    """What it says of the stages."""

    seconds: float
    cpu_seconds: float
    cores: float
    stages: dict[str, StageDocument]
    outside_stages_cpu_seconds: float
    timeline: TimelineDocument


@dataclass
class Timeline:
    """Seconds by name, in equal slots from the start of a run.

    When the run has lasted longer than MOST_SLOTS of them, each two become one.
    """

    slot_seconds: float = FIRST_SLOT_SECONDS
    rows: dict[str, list[float]] = field(default_factory=dict)
    end: float = 0.0

    def add(self, name: str, start: float, end: float, seconds: float) -> None:
        """Spread `seconds` evenly over the time from `start` to `end`.

        Both are in seconds since the start of the run.
        """
        self.end = max(self.end, end)
        while end >= MOST_SLOTS * self.slot_seconds:
            self.slot_seconds *= 2
            for row in self.rows.values():
                pairs = zip(row[::2], row[1::2], strict=True)
                row[:] = [one + other for one, other in pairs] + [0.0] * (MOST_SLOTS // 2)
        row = self.rows.setdefault(name, [0.0] * MOST_SLOTS)
        share = seconds / (end - start) if end > start else 0.0
        first = int(start / self.slot_seconds)
        last = min(int(end / self.slot_seconds), MOST_SLOTS - 1)
        for slot in range(first, last + 1):
            from_here = max(start, slot * self.slot_seconds)
            row[slot] += share * (min(end, (slot + 1) * self.slot_seconds) - from_here)

    def to_json(self) -> TimelineDocument:
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


class _ThisThread(threading.local):
    """The stages that a thread is in."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        """The stages that it is in, the innermost one last."""
        self.wall = self.cpu = 0.0
        """What both clocks showed when the innermost stage was last counted."""


class Profile:
    """Measures one run in this process, from now on. All threads share it."""

    def __init__(self) -> None:
        self._start, self._cpu_start = time.perf_counter(), time.process_time()
        self._sampled, self._cpu_sampled = self._start, self._cpu_start
        self._stages: dict[str, Stage] = {}
        self._timeline = Timeline()
        self._thread = _ThisThread()
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, stage: str, rows: int) -> Iterator[Measured]:
        """Measure a stage while the block runs; an `operators.schemas.Measure`."""
        thread = self._thread
        self._count_innermost()
        thread.stages.append(stage)
        measured = Measured(rows)
        try:
            yield measured
        finally:
            self._count_innermost(measured)
            thread.stages.pop()

    def _count_innermost(self, ended: Measured | None = None) -> None:
        """Count what this thread's innermost stage has taken since this was last done.

        At the end of a call, that is with `ended`, count the call as well.
        """
        thread, wall, cpu = self._thread, time.perf_counter(), time.thread_time()
        if thread.stages:
            with self._lock:
                self._count(thread.stages[-1], thread.wall, wall, cpu - thread.cpu, ended)
        thread.wall, thread.cpu = wall, cpu

    def _count(
        self, name: str, start: float, end: float, cpu_seconds: float, ended: Measured | None
    ) -> None:
        stage = self._stages.setdefault(name, Stage())
        stage.seconds += end - start
        stage.cpu_seconds += cpu_seconds
        self._timeline.add(name, start - self._start, end - self._start, end - start)
        self._sample(end)
        if ended is not None:
            stage.calls += 1
            stage.rows += ended.rows
            stage.first_done = end - self._start if stage.first_done is None else stage.first_done

    def _sample(self, now: float) -> None:
        # several threads may come a little out of order
        if now <= self._sampled:
            return
        cpu = time.process_time()
        self._timeline.add(
            PROCESS, self._sampled - self._start, now - self._start, cpu - self._cpu_sampled
        )
        self._sampled, self._cpu_sampled = now, cpu

    def stage_seconds(self) -> dict[str, float]:
        """The seconds of each stage so far, over all threads."""
        with self._lock:
            return {name: stage.seconds for name, stage in self._stages.items()}

    def to_json(self) -> ProfileDocument:
        """The document of `--profile` (flows/cli/README.md), up to this moment."""
        now = time.perf_counter()
        with self._lock:
            self._sample(now)
            seconds, cpu_seconds = now - self._start, self._cpu_sampled - self._cpu_start
            inside = sum(stage.cpu_seconds for stage in self._stages.values())
            return {
                "seconds": round(seconds, 6),
                "cpu_seconds": round(cpu_seconds, 6),
                "cores": round(cpu_seconds / seconds, 3),
                "stages": {name: _rounded(stage) for name, stage in self._stages.items()},
                "outside_stages_cpu_seconds": round(cpu_seconds - inside, 6),
                "timeline": self._timeline.to_json(),
            }


def _rounded(stage: Stage) -> StageDocument:
    return {
        "seconds": round(stage.seconds, 6),
        "cpu_seconds": round(stage.cpu_seconds, 6),
        "calls": stage.calls,
        "rows": stage.rows,
        "first_done": None if stage.first_done is None else round(stage.first_done, 6),
    }


def write_profile(path: Path, document: Mapping[str, object]) -> None:
    """Write a profile, in place of an earlier one.

    Raises:
        InterruptedRunError: the disk is full or fails.
    """
    try:
        write_whole(path, json.dumps(document) + "\n")
    except OSError as cause:
        raise InterruptedRunError(
            f"The run is complete, but its profile can't be written to `{path}`",
            why=system_says(cause),
            advice="Running again does no harm.",
        ) from cause
