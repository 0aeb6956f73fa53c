"""Checkpoints of PyTorch made into ONNX files, by a process in an environment of its own."""
