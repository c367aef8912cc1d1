"""Parts of benchmarks/ranking_quality.py: tasks, ground truth, scores, statistics, reports."""
