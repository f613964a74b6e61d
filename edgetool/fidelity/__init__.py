"""What each stage from the adapter to the file cost."""
