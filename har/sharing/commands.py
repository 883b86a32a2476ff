"""Run Git and DVC; what they say of a failure is passed on in their own words."""

import subprocess
import sys
from pathlib import Path

from har.errors import UserError


def git(*args: str) -> str:
    """Run Git and return what it prints, without the last line end."""
    return _run(["git", *args], capture=True)


def dvc(*args: str, capture: bool = True) -> str:
    """Run DVC and return what it prints; without `capture` let it print for itself."""
    return _run([sys.executable, "-m", "dvc", *args], capture)


def in_their_words(said: str) -> str:
    """Return what Git or DVC said as one line, and what to do where no Git repository is."""
    words = " ".join(said.split())
    if not any((folder / ".git").exists() for folder in (Path.cwd(), *Path.cwd().parents)):
        words += ". Run `git init`, or do without: `dvc config --local core.no_scm true`."
    return words


def _run(command: list[str], capture: bool) -> str:
    try:
        done = subprocess.run(command, capture_output=capture)  # noqa: S603
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not installed. Install it.") from None
    if done.returncode and capture:
        said = done.stderr.decode(errors="replace") or f"`{' '.join(command)}` failed."
        raise UserError(in_their_words(said))
    if done.returncode:
        raise UserError(
            f"`{' '.join(command[2:4])}` failed for the reason above. Correct it and run the same "
            "command again: it continues where it stopped."
        )
    return (done.stdout or b"").decode(errors="replace").rstrip("\n")
