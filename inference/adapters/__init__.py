"""Whom inference talks to: one file a port and technology."""
