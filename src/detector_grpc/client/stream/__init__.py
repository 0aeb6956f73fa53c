"""Streams of the SDK: a core without I/O that knows what to send and what an answer means, and two shells around it."""
