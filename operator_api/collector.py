"""The garbage collector of processes that stay."""

from __future__ import annotations

import gc

NEW_OBJECTS = 20_000
"""So many more objects than before make the collector look at the new ones: a few megabytes."""


def spare() -> None:
    """Let the garbage collector pass over what is loaded, and look for cycles less often. Connections and books are
    many objects that stay, rows and frames go without it: to look through all again and again took half of the time
    in which connections were opened or events told."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 5, 5)
