"""The language of tool calls: values, call syntaxes, prompts and the one judge. Never torch."""
