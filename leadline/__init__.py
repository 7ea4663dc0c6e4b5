"""How does a person use it? The command line, the client, the local run and the demo."""
