"""Trained encoders on sequences of any length."""
