"""Whom monitor talks to: one file a port and technology."""
