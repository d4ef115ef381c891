"""Commands of operators that this agent carries out."""
