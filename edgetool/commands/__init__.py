"""The commands, a module each, called as it is typed; the only part that sees every other.

A module's docstring is its command's help. No module of a command imports torch at its top, so that
`--help` and what cannot work as typed are answered at once.

What several commands share: common (options that mean the same everywhere), targets (what a path
means), about (what is known of it), chat_template, train_options, training, dry_run, export_*.
"""
