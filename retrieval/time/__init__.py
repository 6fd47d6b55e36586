"""What words of time mean. Knows no vector."""
