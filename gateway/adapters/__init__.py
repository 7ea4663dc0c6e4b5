"""Whom gateway talks to: one file a port and technology."""
