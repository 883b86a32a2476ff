"""A reproducible laboratory for human action recognition.

`import har` is light: Keras loads only with what trains or predicts. Our Keras layers register
themselves as soon as Keras is there, so that `keras.saving.load_model` knows them.
"""

import importlib
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

# TensorFlow reads these when it loads. Determinism: the same seed gives the same weights, bit
# for bit. Logging: its start-up lines name missing GPUs as errors on every CPU.
os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _register_layers() -> None:
    importlib.import_module("har.nn.layers")
    importlib.import_module("har.nn.preprocessing")


class _WithKeras:
    """An import hook: after Keras our layers load. wrapt has one that costs 40 ms a process."""

    _looking = False

    @classmethod
    def find_spec(cls, name: str, *_: object) -> ModuleSpec | None:
        if name != "keras" or cls._looking:
            return None
        cls._looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            cls._looking = False
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register_layers()

            spec.loader.exec_module = execute_and_register
        return spec


if "keras" in sys.modules:
    _register_layers()
else:
    sys.meta_path.insert(0, _WithKeras)
