"""The commands of the documents, as a reader types them."""

import re
import sys
from pathlib import Path
from typing import NamedTuple

from .conftest import ROOT, Project

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "videos/README.md"]
DOCUMENTS += [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("dvc", "git", "har", "make", "pip", "pre-commit", "python")


class Command(NamedTuple):
    """A command line, and what it needs that is not here, `""` where that is nothing."""

    document: str
    line: str
    needs: str


def commands(document: str) -> list[Command]:
    """Return the commands in the fenced blocks of a document, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language not in ("", "sh", "bash"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            command, _, comment = line.strip().partition(" #")
            # Variables may stand before the program.
            if re.sub(r"^(\w+=\S+ )+", "", command).split(" ")[0] in PROGRAMS:
                needs = re.search(r"\bneeds (.*)", comment)
                found.append(
                    Command(document, " ".join(command.split()), needs[1] if needs else "")
                )
    return found


def install(project: Project) -> None:
    """Let `make` find an environment, this one, and `har` the project's own code."""
    programs = project.path / ".venv/bin"
    programs.mkdir(parents=True)
    for name, module in (("har", "har.cli"), ("dvc", "dvc.cli")):
        program = programs / name
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.argv[0] = {name!r}\n"
            f"from {module} import main\nsys.exit(main())\n"
        )
        program.chmod(0o755)
    for mark in (".installed", ".installed-dev"):
        (project.path / ".venv" / mark).touch()
    project.env["PATH"] = f"{programs}:{project.env['PATH']}"


def type_in(project: Project, line: str) -> str:
    """Run a command line in a shell; fail the test where it fails."""
    return project.run("bash", "-euo", "pipefail", "-c", line).stdout


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def paths_named(text: str) -> list[Path]:
    """Return what the links of a Markdown text point to, but for the web."""
    links = re.findall(r"\]\(([^)#]+)\)", text)
    return [Path(link) for link in links if not link.startswith(("http:", "https:"))]
