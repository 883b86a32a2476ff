"""Draws the people and places of the sample data set."""
