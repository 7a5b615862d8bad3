"""Random games on real bytecode: honest and cheating operators and users, with what must always hold checked."""
