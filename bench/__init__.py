"""How fast, and how well does it decide? Every figure beside a peer, in one run."""
