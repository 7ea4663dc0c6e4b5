"""What the detection benchmark is made of: simulated worlds, rules of other tools."""
