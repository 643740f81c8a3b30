"""What a run can train, one file a task."""
