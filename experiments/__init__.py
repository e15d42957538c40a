"""What is asked: studies, the runner, results, statistics, reports."""
