"""LiteRT networks with 8-bit arithmetic; what comes before their first weights stays float.

Convolutions and dense layers get weights and arithmetic of 8 bits, in ranges seen on training clips
(Jacob et al., CVPR 2018). 8 bits are not enough for the layers before them: the difference of two
frames is often a few steps of 1/127. That cost LRCN 8 points of accuracy and ConvLSTM 11.
"""

import tempfile
from typing import NamedTuple

import keras
import numpy as np

WEIGHTED = {"CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}
WEIGHTED |= {"FULLY_CONNECTED", "BATCH_MATMUL"}
BETWEEN = {"QUANTIZE", "DEQUANTIZE"}  # from floats to whole numbers and back


class Operation(NamedTuple):
    """An operation of a LiteRT network."""

    kind: str  # such as CONV_2D
    sources: list[str]  # names of the tensors that it takes, weights among them
    results: dict[str, str]  # names and types, such as FLOAT32, of the tensors that it makes


def quantise(model: keras.Model, training: np.ndarray) -> bytes:
    """Return a .tflite file with 8-bit arithmetic from the first weights on.

    Args:
        model: `har.export.convert.portable`.
        training: uint8 (M, T, H, W, 3), clips from which the ranges of values are taken.
    """
    import tensorflow as tf

    # LiteRT cannot unroll a loop over a batch of unknown size.
    signature = [tf.TensorSpec((1, *training.shape[1:]), tf.uint8, name="clips")]
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False, input_signature=signature)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        # Phones do not have TensorFlow's own operations.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([clip[None]] for clip in training)
        # The converter quantises all or nothing; its debugger can leave operations out.
        debugger = tf.lite.experimental.QuantizationDebugger(converter=converter)
    floats = before_weights(operations(debugger.calibrated_model))
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=floats)
    return debugger.get_nondebug_quantized_model()


def before_weights(network: list[Operation]) -> list[str]:
    """Return the names of the tensors that do not depend on weights."""
    before: list[str] = []
    after: set[str] = set()
    for operation in network:
        if operation.kind in WEIGHTED or after.intersection(operation.sources):
            after.update(operation.results)
        else:
            before += operation.results
    return before


def in_floats(network: list[Operation]) -> list[str]:
    """Return the kinds of the operations that compute in floats, in the order they run."""
    return [
        operation.kind
        for operation in network
        if operation.kind not in BETWEEN and "FLOAT32" in operation.results.values()
    ]


def operations(content: bytes) -> list[Operation]:
    """Return the operations of a .tflite file's network, in the order they run."""
    from tensorflow.lite.tools import flatbuffer_utils as reading

    file = reading.read_model_from_bytearray(content)
    graph = file.subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]

    def of(tensors: np.ndarray | None) -> list[int]:
        # The list is missing where it is empty; an optional tensor that is not given is -1.
        return [] if tensors is None else [i for i in tensors if i >= 0]

    return [
        Operation(
            reading.opcode_to_name(file, operation.opcodeIndex),
            [names[i] for i in of(operation.inputs)],
            {names[i]: reading.type_to_name(graph.tensors[i].type) for i in of(operation.outputs)},
        )
        for operation in graph.operators
    ]
