"""A reproducible laboratory for human action recognition.

`import har` is light: Keras loads only with what trains or predicts. Our Keras layers register
themselves as soon as Keras is there, so that `keras.saving.load_model` knows them.
"""

import importlib
import os

import wrapt

# TensorFlow reads these when it loads. Determinism: the same seed gives the same weights, bit
# for bit. Logging: its start-up lines name missing GPUs as errors on every CPU.
os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _register_layers(_: object) -> None:
    importlib.import_module("har.layers")
    importlib.import_module("har.front")


wrapt.register_post_import_hook(_register_layers, "keras")
