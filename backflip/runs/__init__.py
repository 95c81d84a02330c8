"""The ledger: run folders, checkpoints, metrics, progress, ranks.

What is exported here needs no torch; `runs.checkpoint` and `runs.ranks` do, and are imported by name.
"""

from backflip.runs.files import atomic_folder, atomic_write_bytes, atomic_write_json, atomic_write_text
from backflip.runs.ledger import Run, open_run
from backflip.runs.lineage import Ancestor, Parent, RunRecord, ancestry, find_run, list_runs, read_run
from backflip.runs.metrics import MetricsWriter, read_metrics, require_finite
from backflip.runs.progress import progress
from backflip.runs.texts import Written, append_texts, read_texts, truncate_texts

__all__ = [
    "Ancestor",
    "MetricsWriter",
    "Parent",
    "Run",
    "RunRecord",
    "Written",
    "ancestry",
    "append_texts",
    "atomic_folder",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "find_run",
    "list_runs",
    "open_run",
    "progress",
    "read_metrics",
    "read_run",
    "read_texts",
    "require_finite",
    "truncate_texts",
]
