"""What an ablation trains, and what it found."""
