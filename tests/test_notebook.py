"""The tutorial: its two files agree, its outputs are kept, and it runs."""

import json
import re
import resource

import pytest

jupytext = pytest.importorskip("jupytext", reason="jupytext, the extra dev, is not installed")
pytest.importorskip("nbclient", reason="nbclient, the extra dev, is not installed")

from run_notebook import SCRIPT, run  # noqa: E402 (it loads jupytext)

NOTEBOOK = SCRIPT.with_suffix(".ipynb")


def said(notebook) -> str:
    """Return what the cells printed; fail for a warning or an error."""
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    return "".join(o.get("text", "") for o in outputs)


def check(text: str) -> None:
    found = re.findall(r"^(random|group|convlstm|lrcn)[ split]*: (\d\.\d+) ", text, re.MULTILINE)
    figures = {name: float(share) for name, share in found}
    assert figures["random"] > 0.95  # the leak
    assert figures["group"] < 0.6
    assert min(figures["convlstm"], figures["lrcn"]) > 0.8


def test_the_script_and_the_notebook_are_a_pair():
    one, other = jupytext.read(SCRIPT), jupytext.read(NOTEBOOK)
    sources = [[(cell.cell_type, cell.source) for cell in each.cells] for each in (one, other)]
    assert sources[0] == sources[1], "run `make notebook`"


def test_its_outputs_are_kept_and_small():
    notebook = jupytext.read(NOTEBOOK)
    assert NOTEBOOK.stat().st_size < 1.5e6
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    text = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert not re.search(r"/(root|home|Users|tmp)/|site-packages", text), "a path of one machine"
    check(said(notebook))


@pytest.mark.slow
def test_it_runs_in_five_minutes_on_two_cores():
    before = spent()
    notebook = run()
    assert spent() - before < 2 * 300  # processor seconds: other work on the machine does not count
    check(said(notebook))


def spent() -> float:
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
