"""What landmarks are for: measures made from points alone, as numbers, files and pictures."""
