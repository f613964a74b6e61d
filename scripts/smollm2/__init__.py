"""SmolLM2-135M-Instruct, trained to call tools: its rows, its runs and what they measured."""
