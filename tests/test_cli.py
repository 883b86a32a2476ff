import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from har import cli
from har.clips import store

PROJECT = Path(__file__).resolve().parents[1]
FIGURES = {
    "accuracy": 0.9125,
    "accuracy_low": 0.85,
    "accuracy_high": 0.9567,
    "top5": 1.0,
    "macro_f1": 0.9071,
    "loss": 0.31,
    "n_test": 96,
    "n_groups": 24,
    "chance": 0.1667,
    "majority": 0.1667,
    "parameters": 73620,
}


def har(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["har", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code


@pytest.fixture
def metrics(in_tmp_path) -> Path:
    folder = Path("metrics")
    (folder / "lrcn").mkdir(parents=True)
    low = {"parameters": 46000, "accuracy": 0.5, "accuracy_low": 0.2}
    table = {"convlstm": FIGURES | low, "lrcn": FIGURES}
    (folder / "metrics.json").write_text(json.dumps(table))
    for name in ("mistakes.png", "confusion.png"):
        (folder / "lrcn" / name).write_bytes(b"")
    return folder


def test_results_prints_the_table_and_the_pictures(metrics, monkeypatch, capsys):
    assert har(monkeypatch, "results") == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0].split() == [
        *["accuracy", "95", "%", "interval", "macro", "F1", "clips", "groups"],
        "parameters",
    ]
    assert lines[2].split()[:2] == ["convlstm", "0.500"]
    assert lines[1].split() == [
        *["lrcn", "0.912", "0.850", "to", "0.957", "0.907", "96", "24", "73,620"]
    ]
    assert "Chance is 0.167" in lines[3]
    assert "Figures: metrics/" in lines[3]
    assert [line.strip() for line in lines[4:]] == [
        "metrics/lrcn/confusion.png",
        "metrics/lrcn/mistakes.png",
    ]


def test_what_teach_trained_comes_first(metrics, monkeypatch, capsys):
    (metrics / "teach.json").write_text(json.dumps({"i3d": FIGURES | {"accuracy": 0.6}}))
    har(monkeypatch, "results")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["i3d", "lrcn", "convlstm"]
    (metrics / "teach.json").write_text("{")
    assert har(monkeypatch, "results") == 2
    assert "Expected test figures in metrics/teach.json." in capsys.readouterr().err


def test_columns_stand_under_their_heads(metrics, monkeypatch, capsys):
    har(monkeypatch, "results")
    lines = capsys.readouterr().out.splitlines()
    for head, value in (("accuracy", "0.912"), ("clips", " 96"), ("parameters", "73,620")):
        end = lines[0].index(head) + len(head)
        assert lines[1][:end].endswith(value)


def test_results_of_another_folder(metrics, monkeypatch, capsys):
    metrics.rename("elsewhere")
    assert har(monkeypatch, "results", "--metrics", "elsewhere") == 0
    assert "elsewhere/lrcn/confusion.png" in capsys.readouterr().out


def test_an_interval_that_holds_chance_is_told(metrics, monkeypatch, capsys):
    har(monkeypatch, "results")
    assert "interval holds chance" not in capsys.readouterr().out
    path = metrics / "metrics.json"
    table = json.loads(path.read_text())
    table["convlstm"]["accuracy_low"] = 0.16
    path.write_text(json.dumps(table))
    har(monkeypatch, "results")
    (line,) = [li for li in capsys.readouterr().out.splitlines() if "interval holds chance" in li]
    assert "convlstm" in line
    assert "lrcn" not in line
    assert "har teach" in line


def test_without_figures_one_line_says_what_to_do(in_tmp_path, run_python):
    Path("params.yaml").touch()
    process = run_python("from har.cli import main; main()", "results", cwd=in_tmp_path)
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr == (
        "Error: There are no test figures in metrics. Run `dvc repro` first.\n"
    )


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "3", '{"lrcn": 1}', '{"lrcn": {}}', '{"a": {"chance": "x"}}', "\0"],
)
def test_other_content_than_figures_is_one_line(metrics, monkeypatch, capsys, text):
    (metrics / "metrics.json").write_text(text)
    assert har(monkeypatch, "results") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Error: Expected test figures in metrics/metrics.json.")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["results"], ["preview"], ["pull"], ["push"], ["report"], ["resolve"]]
)
def test_outside_of_a_project_one_line_says_so(in_tmp_path, monkeypatch, capsys, arguments):
    assert har(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Error: Not a project: no params.yaml here")
    assert said.err.count("\n") == 1


def test_ctrl_c_gives_130(in_tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "loads", interrupted)
    Path("metrics").mkdir()
    Path("metrics/metrics.json").write_text("{}")
    assert har(monkeypatch, "results") == 130


def test_a_missing_permission_is_one_line(metrics, monkeypatch, capsys):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", "metrics/metrics.json")

    monkeypatch.setattr(Path, "read_text", refused)
    assert har(monkeypatch, "results") == 2
    assert capsys.readouterr().err.startswith("Error: Permission denied: metrics/metrics.json. ")


@pytest.mark.parametrize("arguments", [["reslts"], ["results", "--metrcs", "x"]])
def test_unknown_commands_and_options(in_tmp_path, monkeypatch, capsys, arguments):
    assert har(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert arguments[-2 if len(arguments) > 1 else 0] in said.err


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_lists_the_commands(monkeypatch, capsys, arguments):
    har(monkeypatch, *arguments)
    said = capsys.readouterr()
    assert "results" in said.out + said.err


def test_help_keeps_what_stands_in_square_brackets(monkeypatch, capsys):
    for command, said in (
        ("predict", "har-lab[video]"),
        ("predict", "har-lab[youtube]"),
        ("serve", "har-lab[app]"),
    ):
        har(monkeypatch, command, "--help")
        assert said in "".join(capsys.readouterr().out.split())


def test_the_version(monkeypatch, capsys):
    assert har(monkeypatch, "--version") == 0
    assert re.fullmatch(r"har \d+\.\d+\S*\n", capsys.readouterr().out)


def test_the_shell_completes_commands_and_options(run_python, monkeypatch):
    monkeypatch.setenv("_HAR_COMPLETE", "complete_bash")
    code = "import sys; sys.argv = ['har']; from har.cli import main; main()"
    for words, found in (("har pre", {"preview", "predict"}), ("har predict --sr", {"--srt"})):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        assert set(run_python(code).stdout.split()) == found


@pytest.mark.parametrize("arguments", [["--help"], ["results"], ["predict", "--help"], ["nothing"]])
def test_a_command_starts_without_what_it_does_not_need(metrics, run_python, arguments):
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "from har.cli import main; main()"
    )
    loaded = run_python(code, *arguments, cwd=metrics.parent.absolute()).stderr.split()
    assert {"har.cli", "typer"} <= set(loaded)
    heavy = {"keras", "tensorflow", "jax", "numpy", "cv2", "h5py", "dvc", "rich"}
    assert not heavy & set(loaded)


@pytest.fixture
def frames(in_tmp_path) -> Path:
    Path("params.yaml").write_text((PROJECT / "params.yaml").read_text())
    path = Path("data/frames.h5")
    path.parent.mkdir()
    clips = [f"{label}/{i}.avi" for label in ("Jump", "Run", "Swim") for i in range(4)]
    offsets = store.create(path, clips, [clip.split("/")[0] for clip in clips], (4, 16, 16))
    with path.open("r+b") as file:
        for i, offset in enumerate(offsets):
            file.seek(offset)
            file.write(np.full((4, 16, 16, 3), 20 * i, np.uint8).tobytes())
    rows = [store.Clip(c, c.split("/")[0], c, c, 50, 25.0, 64, 32) for c in clips]
    store.write_clips(Path("data/clips.csv"), rows)
    Path("data/rejected.csv").write_text("clip,class,reason\n")
    return path


def test_preview_draws_a_picture_and_says_where(frames, monkeypatch, capsys):
    pictures = []
    for seed, output in (("0", "a.png"), ("0", "b.png"), ("1", "c.png")):
        assert har(monkeypatch, "preview", "--seed", seed, "--output", output) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0].split()[:2] == ["class", "clips"]
        assert said[-1] == output
        assert cv2.imread(output) is not None
        pictures.append(Path(output).read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]
    assert har(monkeypatch, "preview") == 0
    assert Path("preview.png").read_bytes() == pictures[0]


@pytest.mark.parametrize("classes", ["1", "2", "3", "100"])
def test_preview_of_some_classes(frames, monkeypatch, classes):
    assert har(monkeypatch, "preview", "--classes", classes) == 0
    height, width = cv2.imread("preview.png").shape[:2]
    assert 0.7 < (height / width) / (0.125 * 1.25 * min(int(classes), 3) + 0.05) < 1.3


@pytest.mark.parametrize(
    "arguments", [["--classes", "0"], ["--classes", "many"], ["--seed", "-1"], ["--colour", "red"]]
)
def test_preview_refuses(frames, monkeypatch, capsys, arguments):
    assert har(monkeypatch, "preview", *arguments) == 2
    assert arguments[0] in capsys.readouterr().err
    assert not Path("preview.png").exists()


def test_preview_without_frames(in_tmp_path, run_python):
    Path("params.yaml").write_text((PROJECT / "params.yaml").read_text())
    process = run_python("from har.cli import main; main()", "preview", cwd=in_tmp_path)
    assert process.returncode == 2
    assert process.stderr.startswith("Error: Expected a file of frames at data/frames.h5. Received")
    assert "Traceback" not in process.stderr
