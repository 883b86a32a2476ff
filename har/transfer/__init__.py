"""Bytes from elsewhere: downloads and archives."""
