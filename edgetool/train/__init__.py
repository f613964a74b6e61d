"""GRPO on a 4-bit base with LoRA.

`load.load_policy` brings a model into memory, `loop.train` trains it, `runtime.PolicyRuntime`
evaluates it. Nothing is imported here: torch and transformers load with the module that needs them.
"""
