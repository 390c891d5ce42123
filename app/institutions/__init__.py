"""The institution's year: who leaves, who merges, who looks in, and how much of everything there may be."""
