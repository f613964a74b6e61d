"""llama.cpp on the device: free and constrained decoding, and an HTTP API."""
