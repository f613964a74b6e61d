"""A tokenizer in the form that GGUF stores."""
