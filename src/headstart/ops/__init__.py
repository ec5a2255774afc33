"""Pure maths, unbatched: the caller vmaps over lanes."""
