"""Pretrained networks, one module each, whose features other networks learn from.

A Keras network's module has `build(shape, weights)`, which returns a `keras.Model` from clips,
(N, T, H, W, 3) uint8 RGB, to features, (N, T', D) float32; `NAMED` lists the weights it knows by
name, `PACKAGED` those that a package has. Another network's module has `extractor(weights)`, which
returns a function from frames, (T, H, W, 3) uint8 RGB, to features, (T', D) float32.
"""
