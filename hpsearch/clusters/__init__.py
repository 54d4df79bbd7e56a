"""Workers as jobs of a batch engine, which places them, warns them before it kills them, and starts them again."""
