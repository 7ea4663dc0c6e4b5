"""Whom registry talks to: one file a port and technology."""
