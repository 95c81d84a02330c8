"""A PostgreSQL server of its own for a benchmark: Debian's programs, a new folder, a socket, nothing on the network."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["postgres"]

_PROGRAMS = Path("/usr/lib/postgresql")


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database with PostgreSQL's own settings: every commit is forced to the disk."""
    programs = sorted(_PROGRAMS.glob("*/bin"))
    if not programs:
        raise SystemExit(f"PostgreSQL is not under {_PROGRAMS}; apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="backflip-pg-"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(name: str, *words: str) -> None:
        command = [*as_user, str(programs[-1] / name), "-D", str(folder / "data"), *words]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    try:
        run("initdb", "-U", "backflip", "-A", "trust", "-E", "UTF8")
        run("pg_ctl", "-o", f"-k {folder} -c listen_addresses=''", "-l", str(folder / "log"), "-w", "start")
        try:
            yield f"postgresql://backflip@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
