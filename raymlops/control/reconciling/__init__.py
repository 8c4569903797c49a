"""What is planned against what runs."""
