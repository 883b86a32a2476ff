import keras
import pytest

from har.nn import backend


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu amx_bf16 avx512_bf16 amx_tile amx_int8\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16\n", False),
        ("flags: amx_bf16x\n", False),
        (None, False),
    ],
)
def test_bfloat16_by_the_flags_of_the_processor(tmp_path, monkeypatch, text, expected):
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(backend, "Path", lambda _: file)
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    assert backend.multiplies_bfloat16() is expected
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert not backend.multiplies_bfloat16()
