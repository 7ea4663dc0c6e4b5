"""HTTP in, one verb call, HTTP out: the door that all pass, and the gateway's own pages."""
