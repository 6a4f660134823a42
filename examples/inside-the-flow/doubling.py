"""Pointer doubling, round by round, on a stream of eight events and one that waits for ever."""

import numpy as np

from operators.settle import NONE, settle

PARENT = np.array([NONE, 0, 1, 2, 3, 4, 5, 2, NONE])
"""Of each event the row of its parent among these: 0 <- 1 <- ... <- 6, a fork at 2, and event 8,
whose prev is not here."""
READY = np.array([True] * 8 + [False])
"""Event 0 is an init event; the prev of event 8 is not delivered."""

top = np.where(PARENT == NONE, np.arange(len(PARENT)), PARENT)
for each_round in range(1, len(PARENT)):
    print(f"round {each_round}: {'  '.join(f'{row}->{above}' for row, above in enumerate(top))}")
    if np.array_equal(top, top[top]):
        break
    top = top[top]

settled = settle(rowid=np.arange(len(PARENT)), parent=PARENT, ready=READY)
print("goes out, parents first:", *settled.order)
print("levels:                 ", *settled.depth)
print("waits:                  ", *settled.stuck)
