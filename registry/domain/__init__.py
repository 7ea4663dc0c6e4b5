"""What registry knows: pure nouns, without await, clock or I/O."""
