"""Scripts that drive unmodified clients of the Open Inference Protocol; run as processes."""
