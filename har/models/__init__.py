"""The approaches: one module each, named as in params.yaml.

A module has `Params`, its section of params.yaml, and `build(n_classes, shape, params, train,
seed)`, which returns a `keras.Model` to class probabilities, (N, n_classes) float32. `shape` is
(T, H, W), the input (N, T, H, W, 3) uint8 RGB; for features of a backbone (V, T, D) and
(N, V, T, D). `train` says how clips are fed. `seed` is that of dropout and augmentation; initial
weights follow Keras's global seed. Cards give the time of training on the sample on 2 cores and
the accuracy on the sample and on real clips (docs/results.md).
"""
