"""The parts of benches/compare, each file with one role."""
