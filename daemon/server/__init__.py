"""The sockets: who gets in, and the replies that wait."""
