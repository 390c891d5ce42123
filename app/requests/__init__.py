"""Access requests: who asks, who reviews, what is decided, and the permit that comes of it."""
