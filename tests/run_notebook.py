"""Run the tutorial and keep its outputs: `make notebook`."""

from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

SCRIPT = Path(__file__).resolve().parents[1] / "notebooks/tutorial.py"


def run() -> nbformat.NotebookNode:
    """Execute the notebook beside its file; an error of a cell is raised."""
    notebook = jupytext.read(SCRIPT)
    place = {"metadata": {"path": str(SCRIPT.parent)}}
    NotebookClient(notebook, timeout=600, resources=place, record_timing=False).execute()
    return notebook


if __name__ == "__main__":
    finished = run()
    for number, cell in enumerate(finished.cells):
        cell.id = f"cell-{number}"  # the same at every run
    nbformat.write(finished, SCRIPT.with_suffix(".ipynb"))
