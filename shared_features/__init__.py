"""What *is* a feature? The one library that training and serving import: no I/O, no clock."""
