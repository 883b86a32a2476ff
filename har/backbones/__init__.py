"""Pretrained networks whose features other networks learn from, one module each.

A Keras network's module has `build(shape, weights)` and returns a `keras.Model` from clips,
(N, T, H, W, 3) uint8 RGB, to features, (N, T', D) float32, so that one model file can hold it and
what learned from it; `NAMED` lists the weights it knows by name. Another network's module has
`extractor(weights)` and returns a function from frames, (T, H, W, 3) uint8 RGB, to features,
(T', D) float32. `PACKAGED` names weights that an installed package carries.
"""
