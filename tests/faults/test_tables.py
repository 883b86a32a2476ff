"""Mutations of params.yaml, of tables and of cards: it works, or one line says what is wrong."""

import json
import random
import runpy
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from har import cli, params
from har.errors import UserError

from .conftest import assert_one_line

ROOT = Path(__file__).parents[2]
HOSTILE = [
    *("", "null", "~", "-1", "0", "1e9", "1e400", ".nan", ".inf", "5e-05", "yes", "true", "0x10"),
    *("2024-31-12", "2024-01-01", "10:30", '!!int "x"', "!!python/object:os.system x", "&a [*a]"),
    *(
        "*nothing",
        "[",
        "[[[[",
        "{}",
        "[]",
        "{a: b}",
        "'",
        '"',
        "|",
        "%",
        "@x",
        "`",
        "\t1",
        "é",
        "歩",
    ),
    *(
        "../../..",
        "/",
        "/dev/null",
        "a" * 5000,
        "[" * 2000,
        "999999999999999999999",
        "0.1.2",
        "- 1",
    ),
    *(
        "'\\ud800'",
        '"\\0"',
        '"\\ud800"',
        "<<: 1",
        "? x",
        "[1, a, null]",
        "(",
        "^(",
        "(a)(b)",
        "1" * 6000,
    ),
]


def of_line(lines: list[str], rng: random.Random) -> list[str]:
    """Change, take out, repeat, move or break a line."""
    i = rng.randrange(len(lines))
    how = rng.randrange(9)
    key = lines[i].partition(":")[0]
    if how <= 3 and ":" in lines[i]:
        lines[i] = f"{key}: {rng.choice(HOSTILE)}"
    elif how == 4:
        del lines[i]
    elif how == 5:
        lines.insert(i, lines[i])
    elif how == 6:
        lines[i] = " " * rng.randrange(1, 5) + lines[i]
    elif how == 7:
        lines[i] = lines[i].lstrip()
    else:
        cut = rng.randrange(len(lines[i]) + 1)
        lines[i] = (
            lines[i][:cut] + rng.choice([*HOSTILE, "\x00", "\x1b", "\ufeff"]) + lines[i][cut:]
        )
    return lines


def of_bytes(data: bytes, rng: random.Random) -> bytes:
    i, j = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return rng.choice(
        [
            data[:i],
            data[j:],
            data[:i] + data[j:],
            data[:i] + rng.randbytes(rng.randrange(1, 40)) + data[i:],
            data.decode().encode("utf-16"),
            data + data,
            b"\xff\xfe" + data,
            data.replace(b"\n", b"\r\n"),
            b"",
            b"null",
            b"[]",
            b"\0" * len(data),
        ]
    )


def mutated(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return of_bytes(data, rng)
    lines = data.decode().split("\n")
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        lines = of_line(lines, rng)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def test_params(rng, times, tmp_path):
    text = (ROOT / "params.yaml").read_bytes()
    file = tmp_path / "params.yaml"
    refused = 0
    for i in range(times(150)):
        file.write_bytes(mutated(text, rng))
        try:
            found = params.load(file)
            for approach in params.approaches():
                found.recipe(approach)
        except UserError as error:
            refused += 1
            assert len(str(error)) < 20_000
            continue
        except Exception as error:
            kept = Path(shutil.copy(file, tmp_path / f"{i}.yaml"))
            raise AssertionError(f"{kept}: {error!r}") from error
    print(f"{refused} refused")


# Damage, and the commands that read what is damaged.
READERS = {
    "data/clips.csv": ["stages/split.py", "preview", "stages/train.py lrcn"],
    "data/rejected.csv": ["preview"],
    "data/official.csv": ["stages/split.py"],
    "data/split.csv": ["stages/train.py lrcn", "stages/evaluate.py"],
    "data/frames.h5": ["preview", "stages/split.py", "stages/train.py lrcn", "stages/evaluate.py"],
    "models/lrcn/history.csv": ["stages/evaluate.py"],
    "models/lrcn/card.json": ["stages/evaluate.py", "predict {clip} --model lrcn"],
    "models/lrcn/model.keras": ["predict {clip} --model lrcn"],
    "metrics/metrics.json": ["results", "predict {clip}"],
    "metrics/lrcn/predictions.csv": ["report --base HEAD"],
    "dvc.lock": ["report --base HEAD", "push"],
}
CARD = [
    *(
        None,
        0,
        -1,
        1e400,
        "x",
        [],
        {},
        [None],
        {"a": 1},
        True,
        "é" * 3,
        10**30,
        [1, 2],
        "../..",
        0.5,
    ),
]


def of_card(data: bytes, rng: random.Random) -> bytes:
    """Put another value at a random place of a JSON object."""
    whole = json.loads(data)
    place = whole
    while True:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.5:
            break
        place = inner
    if rng.random() < 0.2 and isinstance(place, dict):
        del place[key]
    else:
        place[key] = rng.choice(CARD)
    return json.dumps(whole).encode()


def of_binary(data: bytes, rng: random.Random) -> bytes:
    i = rng.randrange(len(data))
    broken = bytearray(data)
    for _ in range(rng.choice([1, 5, 200])):
        broken[rng.randrange(min(len(data), rng.choice([200, 3000, len(data)])))] ^= 255
    return rng.choice([data[:i], bytes(broken), bytes(broken), b"", data[i:]])


KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".h5": of_binary,
    ".keras": of_binary,
    ".json": of_card,
}


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    project = finished.copy(tmp_path_factory.mktemp("tables") / "project")
    project.dvc("remote", "add", "--default", "storage", "../storage")
    project.commit("storage")
    return project


def run_here(words: list[str], monkeypatch, capfd) -> tuple[int, str]:
    """Run a stage or `har` in this process, where Keras is loaded; return its code and stderr."""
    capfd.readouterr()
    monkeypatch.setattr(sys, "argv", ["har", *words])
    code = 0
    try:
        if words[0].startswith("stages/"):
            monkeypatch.setattr(sys, "argv", words)
            runpy.run_path(words[0], run_name="__main__")
        else:
            cli.main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        return 1, traceback.format_exc()
    return code, capfd.readouterr().err


def test_tables_and_cards(project, rng, times, monkeypatch, capfd):
    monkeypatch.chdir(project.path)
    clip = next(Path("data/fetched").rglob("*.avi"))
    outcomes: dict[int, int] = {0: 0, 2: 0}
    faults = []
    for _ in range(times(100)):
        name = rng.choice(list(READERS))
        reader = rng.choice(READERS[name])
        file = Path(name)
        data = file.read_bytes()
        kind = KINDS.get(file.suffix, mutated)
        if file.suffix not in (".h5", ".keras") and rng.random() < 0.15:
            kind = of_bytes
        broken = kind(data, rng)
        outputs = [Path("data"), Path("models"), Path("metrics"), Path("dvc.lock")]
        shutil.rmtree("kept", ignore_errors=True)
        for output in outputs:
            Path("kept").mkdir(exist_ok=True)
            copy = shutil.copytree if output.is_dir() else shutil.copy2
            copy(output, Path("kept") / output)
        file.unlink()  # a link into the cache
        file.write_bytes(broken)
        code, said = run_here(reader.format(clip=clip).split(), monkeypatch, capfd)
        try:
            assert_one_line(code, said)
            outcomes[code] += 1
        except AssertionError as error:
            faults.append(f"{reader} with {name}: {broken[:2000]!r}: {str(error)[-3000:]}")
        for output in outputs:
            shutil.rmtree(output) if output.is_dir() else output.unlink()
            shutil.move(Path("kept") / output, output)
        shutil.rmtree(".work", ignore_errors=True)
    with capfd.disabled():
        print(outcomes)
    assert not faults, "\n\n".join(faults)
