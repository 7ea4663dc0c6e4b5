"""What monitor knows: pure nouns, without await, clock or I/O."""
