"""What do the services say to each other? Wire types and problem codes; pure data."""
