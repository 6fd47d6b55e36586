"""Watches a camera for as long as it is left running and answers questions about anything it saw."""
