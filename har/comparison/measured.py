"""Times that are measured once per machine and then remembered.

A measured time differs from run to run, and in an output it would make every run differ from the
last and fill each pull request with noise. So the first figure is kept in the user's cache folder
(or `HAR_CACHE`), outside the project, where fresh clones on the same machine find it too.
"""

import json
import os
import platform
from collections.abc import Callable

from har import files


def once(kind: str, key: str, measure: Callable[[], float]) -> float:
    """Return the time that was measured first under `key`, or measure it.

    Args:
        kind: of time, the folder of its notes.
        key: digest of all the time depends on, but for the machine.
        measure: returns the time.
    """
    machine = files.digest([platform.node(), platform.machine(), os.cpu_count()], key)
    note = files.cache_folder() / kind / f"{machine}.json"
    try:
        return float(json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        files.write_text(note, json.dumps(measure()))
        return float(json.loads(note.read_text(encoding="utf-8")))
