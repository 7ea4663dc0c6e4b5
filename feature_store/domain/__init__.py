"""What feature_store knows: pure nouns, without await, clock or I/O."""
