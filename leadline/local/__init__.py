"""The platform on one machine: which processes, how they are started, watched and stopped."""
