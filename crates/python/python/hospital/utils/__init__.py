"""What the assertions are made of."""
