"""Worlds in which the truth is known, and rollouts played in them by the real controller."""
