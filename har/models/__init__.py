"""The approaches: one module each, named as in params.yaml.

A module has `Params`, its section of params.yaml, and
`build(n_classes, shape, params, train, seed)`, which returns a `keras.Model` from clips,
(N, T, H, W, 3) uint8 RGB, or from features of a backbone, (N, V, T, D), to class probabilities,
(N, n_classes) float32. `parts/` is what approaches share.
"""
