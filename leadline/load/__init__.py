"""Load for a running platform, and an account of where its time went."""
