"""Apportion: which team, project, feature, customer and model an AI bill was."""

__version__ = "0.1.0"
