"""Whom feature_store talks to: one file a port and technology."""
