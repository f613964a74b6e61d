"""A GGUF file as a base model: its configuration, tokenizer, template and tensors."""
