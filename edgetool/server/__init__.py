"""OpenAI's API over HTTP, and its page."""
