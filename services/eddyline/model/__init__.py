"""Pure code: events, the algebra of profiles, filters and ranking. No I/O, no clock, no randomness of its own."""
