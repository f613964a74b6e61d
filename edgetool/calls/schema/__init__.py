"""A tool's JSON Schema in normal form, which every call syntax makes its grammar from."""
