"""Proof that a leg ran as it is called, and how far its arithmetic is from the exact one."""
