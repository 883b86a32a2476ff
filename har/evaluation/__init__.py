"""Predictions to figures, tables and pictures."""
