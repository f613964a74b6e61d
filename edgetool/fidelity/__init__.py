"""What each step from the adapter to the file cost."""
