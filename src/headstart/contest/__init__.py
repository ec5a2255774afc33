"""Contests: strangers' agents, levels they have never seen, a budget, and a leaderboard."""
