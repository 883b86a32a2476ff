"""dvc.yaml tells the truth: deps are what a stage imports, params what it reads."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from .conftest import ROOT

DAG = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = DAG["stages"]

# Runs a stage to its end, then tells which files of the project it imported.
PROBE = """
import atexit, json, os, runpy, sys
def tell():
    files = (getattr(m, "__file__", None) for m in list(sys.modules.values()))
    root = os.getcwd() + os.sep
    ours = {f[len(root):] for f in files if f and f.startswith(root + "har")}
    # The __init__.py of a package is its docstring; har's has names that load later.
    ours = sorted(f for f in ours if not f.endswith("__init__.py"))
    open("imported.json", "w").write(json.dumps(ours))
atexit.register(tell)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def difference(stage: dict, imported: set[str]) -> tuple[set[str], set[str]]:
    """Return the modules that a stage imports but does not list, and lists but does not import."""
    deps = {dep for dep in stage["deps"] if dep.startswith("har/") and "${" not in dep}
    files = {dep for dep in deps if dep.endswith(".py")}
    folders = {dep for dep in deps - files if any(f.startswith(f"{dep}/") for f in imported)}
    inside = {f for f in imported if f.startswith(tuple(f"{dep}/" for dep in folders) or ("//",))}
    return imported - files - inside, (files | deps - files) - imported - folders


def test_each_stage_lists_exactly_the_modules_it_imports(new_project):
    project = new_project()
    found = {}
    for name, stage in STAGES.items():
        project.python("-c", PROBE, *stage["cmd"].split()[1:])
        imported = set(json.loads((project.path / "imported.json").read_text()))
        found[name] = difference(stage, imported)
        assert stage["cmd"].split()[1] in stage["deps"], name
    assert found == dict.fromkeys(STAGES, (set(), set()))


# What the stages of the other pipelines import when they are loaded, and what they import later.
LATER = {
    ("comparison", "features"): "import har.backbones.features, har.backbones.i3d",
    ("comparison", "trials"): (
        "import har.models.convlstm, har.models.i3d, "
        "har.models.lrcn_tutorial, har.comparison.trials, har.nn.layers, "
        "har.backbones.joined_model, har.training.linear"
    ),
    ("comparison", "compare"): (
        "import har.comparison.cost, har.comparison.plots, har.comparison.table, "
        "har.evaluation.predictions, har.evaluation.shortcuts, har.evaluation.unknown, "
        "har.nn.layers, har.training.run, har.backbones.features"
    ),
    (
        "pretrain",
        "pretrain",
    ): "import har.models.convlstm, har.training.fit, har.training.pretraining",
    ("teach", "features"): "import har.backbones.features, har.backbones.i3d",
    ("teach", "teach"): "import har.training.teach, har.models.i3d, har.evaluation.outputs",
}


@pytest.mark.parametrize(("pipeline", "name"), LATER)
def test_the_stages_of_the_other_pipelines_list_the_modules_they_import(pipeline, name, run_python):
    text = (ROOT / pipeline / "pipeline.yaml").read_text(encoding="utf-8")
    stage = yaml.safe_load(text)["stages"][name]
    probe = PROBE.replace('open("imported.json", "w").write', "print").replace(
        'run_name="__main__"', 'run_name="imported"'
    )
    later = f"\n{LATER[pipeline, name]}"
    process = run_python(probe + later, f"stages/{name}.py", cwd=ROOT)
    assert process.returncode == 0, process.stderr
    imported = set(json.loads(process.stdout.splitlines()[-1]))
    # The approach of a trial is named by its matrix.
    own = {
        f
        for f in imported
        if pipeline in ("comparison", "pretrain") and re.match(r"har/models/\w+\.py", f)
    }
    assert difference(stage, imported - own) == (set(), set())


def read_params(script: Path, approach: str) -> set[str]:
    """Return the params a stage script reads, as dotted keys, from its source."""
    keys = set()
    own = {approach, "sample", "dataset.name"}
    # Methods of Params.
    asked = {"approach": own, "recipe": {*own, "train"}, "check_approach": set()}
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        chain = []
        while isinstance(node, ast.Attribute):
            chain.append(node.attr)
            node = node.value
        starts_at_params = isinstance(node, ast.Name) and node.id == "params"
        is_load = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "load"
        if chain and (starts_at_params or is_load):
            keys |= asked.get(chain[-1], {".".join(reversed(chain))})
    return keys


@pytest.mark.parametrize("name", STAGES)
def test_each_stage_lists_the_params_it_reads(name):
    stage = STAGES[name]
    script = ROOT / stage["cmd"].split()[1]
    listed = set(stage["params"])
    read = read_params(script, stage["cmd"].split()[-1])
    if script.name == "train.py":  # its networks read frames, and so no features
        run = read_params(ROOT / "har/training/run.py", stage["cmd"].split()[-1])
        read |= run - {"features", "backbones"}
    for key in read:
        covered = any(key == p or key.startswith(p + ".") for p in listed)
        # `params.split` alone is the start of `params.split.fold`, which is looked at by itself.
        part_of = any(p.startswith(key + ".") for p in listed)
        assert covered or part_of, f"{script.name} reads {key}"


@pytest.mark.parametrize("name", STAGES)
def test_each_stage_says_what_it_is_for(name):
    stage = STAGES[name]
    assert stage["desc"]
    doc = ast.get_docstring(ast.parse((ROOT / stage["cmd"].split()[1]).read_text(encoding="utf-8")))
    for word in ("Command: ", "Inputs: ", "Outputs: ", "Cost: "):
        assert word in doc, word


def test_only_the_evaluation_lives_in_git_and_not_in_the_cache():
    for name, stage in STAGES.items():
        outs = stage.get("outs", []) + stage.get("metrics", []) + stage.get("plots", [])
        uncached = [out for out in outs if isinstance(out, dict)]
        assert not uncached or name == "evaluate"
