"""For data scientists: from a fitted model to a published version, in one call.

A converter per framework (``from_lightgbm``, ``from_sklearn``, ``from_xgboost``, ``from_torch``)
makes the ONNX graph; ``parity`` proves that it answers as the original does; ``golden``,
the baseline profile and the manifest go with it; the registry takes it over HTTP.
"""
