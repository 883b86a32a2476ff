import time
import tracemalloc

import cv2
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from har import plots


def names(n: int) -> list[str]:
    words = ["Walk", "SitDown", "JumpingJack", "TrampolineJumping", "PlayingPiano", "Tea"]
    return [f"{words[i % 6]}{i // 6 or ''}" for i in range(n)]


def counts(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.diag(rng.integers(5, 25, n)) + (rng.random((n, n)) > 0.9) * rng.integers(1, 9, (n, n))


def history(n: int) -> list[dict[str, str]]:
    return [
        {
            "epoch": str(i),
            "loss": f"{2 / i:.6f}",
            "accuracy": f"{1 - 1 / (i + 1):.6f}",
            "val_loss": f"{2 / i + 0.02 * i:.6f}",
            "val_accuracy": f"{0.9 - 0.8 / (i + 1):.6f}",
        }
        for i in range(1, n + 1)
    ]


def rows(n: int, n_frames: int = 20, height: int = 64, width: int = 64):
    """Captions and frames: red grows from left to right, green with time."""
    frames = np.zeros((n_frames, height, width, 3), np.uint8)
    frames[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)
    frames[..., 1] = np.linspace(0, 255, n_frames, dtype=np.uint8)[:, None, None]
    return [
        (
            f"TrampolineJumping, taken for JumpingJack ({1 - i / 40:.0%}): "
            f"TrampolineJumping/v_TrampolineJumping_g{i:02}_c01.avi",
            frames,
        )
        for i in range(n)
    ]


def confusion(n: int):
    return lambda path: plots.confusion(path, counts(n), names(n), "lrcn, group fold 0")


def curves(n: int):
    return lambda path: plots.curves(path, history(n), max(1, n - 3), "lrcn, group fold 0")


def contact_sheet(n: int, *shape: int):
    title = f"lrcn, group fold 0: {n} of 96 clips taken for another class"
    return lambda path: plots.contact_sheet(path, rows(n, *shape), title)


DRAWINGS = {
    "confusion-2": confusion(2),
    "confusion-6": confusion(6),
    "confusion-60": confusion(60),
    "curves-1": curves(1),
    "curves-30": curves(30),
    "sheet-0": contact_sheet(0),
    "sheet-1": contact_sheet(1),
    "sheet-12": contact_sheet(12),
    "sheet-short": contact_sheet(2, 3),
    "sheet-wide": contact_sheet(2, 20, 48, 96),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_pictures_are_drawn_with_the_same_bytes_every_time(tmp_path, name, recwarn):
    paths = [tmp_path / "one" / f"{name}.png", tmp_path / "two" / f"{name}.png"]
    for path in paths:
        DRAWINGS[name](path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert [path.name for path in paths[0].parent.iterdir()] == [f"{name}.png"]
    picture = cv2.imread(str(paths[0]))
    assert picture is not None
    assert min(picture.shape[:2]) >= 100
    assert max(picture.shape[:2]) < 5000
    assert picture.std() > 1
    assert [str(warning.message) for warning in recwarn] == []


def test_a_class_without_a_clip_is_drawn(tmp_path):
    plots.confusion(tmp_path / "c.png", np.array([[3, 1], [0, 0]]), ["A", "B"], "")
    assert (tmp_path / "c.png").exists()


def test_a_contact_sheet_shows_the_frames(tmp_path):
    path = tmp_path / "sheet.png"
    red = np.zeros((4, 32, 32, 3), np.uint8)
    red[..., 0] = 255
    plots.contact_sheet(path, [("A/1", red)], "")
    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).reshape(-1, 3)
    assert ((picture[:, 0] > 250) & (picture[:, 1:].max(axis=1) < 5)).mean() > 0.2


@pytest.mark.parametrize(
    ("n", "shown", "picked"),
    [
        (20, 4, [0, 6, 13, 19]),
        (4, 4, [0, 1, 2, 3]),
        (3, 8, [0, 1, 2]),
        (1, 8, [0]),
        (20, 2, [0, 19]),
    ],
)
def test_a_strip_shows_frames_from_the_first_to_the_last(n, shown, picked):
    frames = np.arange(n, dtype=np.uint8)[:, None, None, None] + np.zeros((n, 5, 4, 3), np.uint8)
    strip = plots.contact_strip(frames, shown)
    assert strip.shape == (5, 4 * len(picked), 3)
    assert strip.dtype == np.uint8
    assert strip[0, ::4, 0].tolist() == picked


def test_pictures_need_no_display_and_no_state_of_pyplot(run_python):
    code = "import sys; from har import plots; print('matplotlib.pyplot' in sys.modules)"
    assert run_python(code).stdout.strip() == "False"


def test_a_dollar_in_a_class_name_is_text(tmp_path):
    """Matplotlib takes text between dollars for mathematics, and refuses most of it."""
    for classes in (["$1 to $2", r"a$\frac$"], ["a", "b"]):
        plots.confusion(tmp_path / "picture.png", counts(2), classes, "$x$ \\ $y")


def font(path, characters: str) -> None:
    """Write a font in which each of `characters` is a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 700), (800, 700), (800, 0)):
        pen.lineTo(corner)
    pen.closePath()
    names = [".notdef", *(f"square{i}" for i in range(len(characters)))]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, characters), names[1:], strict=True)))
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (900, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def fonts(tmp_path, monkeypatch):
    """Install fonts: `fonts(characters, …)`; no others are there but DejaVu Sans."""

    def install(*characters: str) -> list[str]:
        paths = [tmp_path / f"font{i}.ttf" for i in range(len(characters))]
        for path, text in zip(paths, characters, strict=True):
            font(path, text)
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: list(map(str, paths)))
        plots.font_of.cache_clear()
        return list(map(str, paths))

    yield install
    plots.font_of.cache_clear()


def test_a_font_is_chosen_that_has_the_characters(tmp_path, fonts, capsys, recwarn):
    _, second = fonts("歩", "歩走")
    assert plots.font_of("歩走 Walk") == second
    assert plots.font_of("歩走") == second
    assert "DejaVuSans" in plots.font_of("Gähnen, Ω")
    capsys.readouterr()
    plots.confusion(tmp_path / "squares.png", counts(2), ["歩歩走", "走走歩"], "")
    assert capsys.readouterr().err == ""
    fonts()
    plots.confusion(tmp_path / "boxes.png", counts(2), ["歩歩走", "走走歩"], "")
    assert capsys.readouterr().err.startswith("No installed font has 歩走. Boxes stand for them.")
    assert (tmp_path / "squares.png").read_bytes() != (tmp_path / "boxes.png").read_bytes()
    assert [str(warning.message) for warning in recwarn] == []


def test_hundreds_of_classes_fit_into_memory(tmp_path):
    tracemalloc.start()
    start = time.process_time()
    plots.confusion(tmp_path / "picture.png", counts(400), names(400), "400 classes")
    assert time.process_time() - start < 10
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()
    assert max(cv2.imread(str(tmp_path / "picture.png")).shape) < 4000


def test_many_classes_have_a_list_of_the_commonest_confusions(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(plots, "save", lambda figure, _: seen.append(figure))
    table = np.diag(np.full(60, 9))
    table[3, 7], table[50, 2] = 2, 5
    plots.confusion(tmp_path / "picture.png", table, [f"Class{i:02}" for i in range(60)], "")
    [said] = [text.get_text() for text in seen[0].axes[0].texts]
    assert said.splitlines() == [
        "Commonest confusions: 7 of 547 clips are wrong",
        "5 of 14   Class50 as Class02",
        "2 of 11   Class03 as Class07",
    ]
