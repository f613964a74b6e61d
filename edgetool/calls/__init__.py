"""The language of tool calls: value objects, call syntaxes, prompts and the one judge. Never torch."""
