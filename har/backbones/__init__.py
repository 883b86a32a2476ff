"""Pretrained networks, one module each, whose features other networks learn from.

A module has `build(shape, weights)`, which returns a `keras.Model` from (N, T, H, W, 3) uint8 RGB
to features, (N, T', D) float32, and lists weights in `NAMED` and `PACKAGED`; or, where it is no
Keras network, `extractor(weights)`, which returns a function of (T, H, W, 3) to (T', D).
"""
