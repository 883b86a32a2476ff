"""The approaches: one module each, named as in params.yaml.

A module has `build(n_classes, shape, params, train, seed)` and returns a `keras.Model` that takes
clips, (N, T, H, W, 3) uint8 RGB, and returns class probabilities, (N, n_classes) float32.
"""
