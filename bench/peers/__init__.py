"""The peers: other servers of the same ONNX model, each in an environment of its own."""
