"""Mutation: faults put into netlists, to see which of them the tests of a block find."""
