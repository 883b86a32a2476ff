"""What Keras lacks: one layer a file, a quiet start of Keras, and models as files."""
