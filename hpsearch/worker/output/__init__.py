"""What a trainer prints: the pipe it prints into, the text that is kept of it, and where that is stored."""
