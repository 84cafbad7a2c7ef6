"""The stories, a chapter a file."""
