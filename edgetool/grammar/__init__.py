"""What may be written next: grammars made from the tools' JSON Schemas."""
