"""What Keras lacks: layers, one class a file, models as files, and a quiet start of Keras."""
