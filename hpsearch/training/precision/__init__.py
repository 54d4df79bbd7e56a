"""In which precision a trial trains faster on this device: measured once, and kept in the cache directory."""
