"""Tables of ours that need no other module of storage, each with what reads and writes it."""
