"""What gateway knows: pure nouns, without await, clock or I/O."""
