"""The commands: they parse and say what to do; `verbs` does it, loaded only then."""
