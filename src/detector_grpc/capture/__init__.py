"""Keeps the pictures that the model was unsure of, for people to label: chosen, made durable, brought to a sink."""
