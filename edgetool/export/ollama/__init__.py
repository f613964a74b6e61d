"""Ollama's Modelfile and its Go template."""
