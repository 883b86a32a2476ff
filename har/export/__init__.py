"""Trained models as TFLite, ONNX and SavedModel."""
