"""What several test files share: pure functions and generators, no fixtures."""
