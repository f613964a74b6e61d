"""From messages and tools to the text and token ids of a prompt."""
