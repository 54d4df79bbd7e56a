"""What a command does with a trainer of its own, on this machine and without a database."""
