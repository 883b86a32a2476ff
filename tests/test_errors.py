import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STAGE = """
from har.errors import UserError, run
def main():
    {body}
run(main)
"""


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("print('done')", 0, ""),
        ("raise UserError('Expected a. Received: b. Do c.')", 2, "Error: Expected a. "),
        ("raise KeyboardInterrupt", 130, "Run the same command again to continue"),
        ("raise ValueError('a bug')", 1, "Traceback"),
        ("raise OSError('a bug of a library')", 1, "Traceback"),
        ("open('/dev/full', 'w').write('x' * 99999)", 2, "No space left on device. Free some"),
        ("open('/nowhere/x')", 2, "No such file or directory: /nowhere/x. Check that it exists."),
        ("open('/', 'w')", 2, "Is a directory: /. Move"),
        ("import os; os.mkdir('/proc/x')", 2, ": /proc/x. "),
        (
            "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20)); "
            "files = [open('/dev/null') for _ in range(30)]",
            2,
            "Too many open files: /dev/null. Raise the limit (`ulimit -n 4096`)",
        ),
        (
            "import os; raise PermissionError(13, os.strerror(13), 'a', None, 'b')",
            2,
            "Permission denied: b. Change its permissions",
        ),
        (
            "from concurrent.futures.process import BrokenProcessPool; raise BrokenProcessPool",
            2,
            "A worker process was killed. Free some memory and run the same command again.",
        ),
        ("raise OSError(30, 'x', 'data')", 2, "Read-only file system: data. Change"),
    ],
)
def test_exit_codes_and_what_is_said(run_python, body, code, said):
    process = run_python(STAGE.format(body=body))
    assert process.returncode == code
    assert said in process.stderr
    assert ("Traceback" in process.stderr) == (code == 1)
    if code in (0, 2):
        assert process.stderr.count("\n") == code // 2


WAITS = """
import tempfile, time
from har.errors import run
def main():
    with tempfile.TemporaryDirectory():
        print("ready", flush=True)
        time.sleep(60)
run(main)
"""


def waiting(folder: Path, *before: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [*before, sys.executable, "-c", WAITS],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_ends_a_command_and_its_temporary_files_go(tmp_path, number, code):
    process = waiting(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_nohup_is_obeyed(tmp_path):
    process = waiting(tmp_path, "nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert process.wait(20) == 143
