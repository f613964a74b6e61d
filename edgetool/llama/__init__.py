"""llama.cpp: models loaded, prompts read, completions written, in processes of their own."""
