"""What landmarks are for: each use takes points alone, and images where it has something to show or to refine."""
