"""HTTP in, one verb call, HTTP out."""
