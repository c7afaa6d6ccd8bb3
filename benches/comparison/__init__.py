"""The parts of benches/compare, one role a file."""
