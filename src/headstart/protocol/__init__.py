"""Train on a split, keep the prior, play it on tasks it has never seen, score."""
