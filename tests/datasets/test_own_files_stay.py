"""Clips that people put by hand into a folder are there after DVC has run."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path) -> Path:
    for name in ("har", "stages", ".dvc"):
        ignored = shutil.ignore_patterns("__pycache__", "tmp", "cache", "config.local")
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=ignored)
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(PROJECT / name, tmp_path / name)
    for group in (1, 2):
        clip = tmp_path / f"videos/Jump/a_g{group:02}_c01.avi"
        clip.parent.mkdir(parents=True, exist_ok=True)
        clip.write_bytes(b"%d" % group)
    (tmp_path / ".gitconfig").write_text("[user]\nname = a\nemail = a@b\n")
    for line in ("git init -q", "git add -A", "git commit -qm a"):
        run(tmp_path, *line.split())
    return tmp_path


def run(project: Path, *command: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(project), "PATH": path, "HOME": str(project)}
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def digests(folder: Path) -> dict[Path, str]:
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def fetched(project) -> Path:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(text.replace("name: sample", "name: folder", 1))
    run(project, "dvc", "repro", "fetch")
    return project


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["videos", "data/videos"])
def test_own_files_stay(fetched, folder):
    mine = fetched / folder / "Mine/precious.avi"
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_bytes(b"precious")
    before = digests(fetched / folder)
    run(fetched, "dvc", "repro", "fetch")
    run(fetched, "dvc", "exp", "run", "fetch", "-S", "dataset.classes=[Jump]")
    (fetched / "videos/Jump/b_g03_c01.avi").write_bytes(b"3")
    said = run(fetched, "dvc", "repro", "--force", "fetch")
    assert ("data/videos is no longer used" in said) == (folder == "data/videos")
    assert before.items() <= digests(fetched / folder).items()


@pytest.mark.slow
def test_what_systems_leave_behind_changes_nothing(fetched):
    for name in (".DS_Store", "Jump/Thumbs.db", "Jump/@eaDir/a.avi", "$RECYCLE.BIN/x/a.avi"):
        (fetched / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (fetched / "videos" / name).write_bytes(b"junk")
    (fetched / "videos/System Volume Information").mkdir()
    (fetched / "videos/System Volume Information/x").write_bytes(b"junk")
    assert "up to date" in run(fetched, "dvc", "status", "fetch")
    (fetched / "videos/Jump/b_g03_c01.avi").write_bytes(b"3")
    assert "videos" in run(fetched, "dvc", "status", "fetch")
